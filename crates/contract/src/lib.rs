//! What the gateway's side and the server share: headers, grant, classification, decision, existence rules.
