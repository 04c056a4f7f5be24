//! The functions of the language: N1's, those that FHIR R4 adds, of FHIRPath 2.1 those that the
//! official R4 suite knows, and `hasExtension`, which a search parameter of R4 uses.

/// Names each function once.
macro_rules! functions {
    ($($function:ident $name:literal $least:literal $most:literal,)*) => {
        /// A function that an expression can call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function {
            $($function,)*
        }

        impl Function {
            /// Every function.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$function,)*];

            pub(crate) fn by_name(name: &str) -> Option<Self> {
                Some(match name {
                    $($name => Self::$function,)*
                    _ => return None,
                })
            }

            /// As it is written.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$function => $name,)*
                }
            }

            /// How many arguments it takes, at least and at most.
            pub(crate) fn arguments(self) -> (usize, usize) {
                match self {
                    $(Self::$function => ($least, $most),)*
                }
            }
        }
    };
}

functions! {
    Empty "empty" 0 0,
    Exists "exists" 0 1,
    All "all" 1 1,
    AllTrue "allTrue" 0 0,
    AnyTrue "anyTrue" 0 0,
    AllFalse "allFalse" 0 0,
    AnyFalse "anyFalse" 0 0,
    SubsetOf "subsetOf" 1 1,
    SupersetOf "supersetOf" 1 1,
    Count "count" 0 0,
    Distinct "distinct" 0 0,
    IsDistinct "isDistinct" 0 0,
    Where "where" 1 1,
    Select "select" 1 1,
    Repeat "repeat" 1 1,
    OfType "ofType" 1 1,
    Single "single" 0 0,
    First "first" 0 0,
    Last "last" 0 0,
    Tail "tail" 0 0,
    Skip "skip" 1 1,
    Take "take" 1 1,
    Intersect "intersect" 1 1,
    Exclude "exclude" 1 1,
    Union "union" 1 1,
    Combine "combine" 1 1,
    Iif "iif" 2 3,
    ToBoolean "toBoolean" 0 0,
    ConvertsToBoolean "convertsToBoolean" 0 0,
    ToInteger "toInteger" 0 0,
    ConvertsToInteger "convertsToInteger" 0 0,
    ToDate "toDate" 0 0,
    ConvertsToDate "convertsToDate" 0 0,
    ToDateTime "toDateTime" 0 0,
    ConvertsToDateTime "convertsToDateTime" 0 0,
    ToDecimal "toDecimal" 0 0,
    ConvertsToDecimal "convertsToDecimal" 0 0,
    ToQuantity "toQuantity" 0 1,
    ConvertsToQuantity "convertsToQuantity" 0 1,
    ToString "toString" 0 0,
    ConvertsToString "convertsToString" 0 0,
    ToTime "toTime" 0 0,
    ConvertsToTime "convertsToTime" 0 0,
    IndexOf "indexOf" 1 1,
    LastIndexOf "lastIndexOf" 1 1,
    Substring "substring" 1 2,
    StartsWith "startsWith" 1 1,
    EndsWith "endsWith" 1 1,
    Contains "contains" 1 1,
    Upper "upper" 0 0,
    Lower "lower" 0 0,
    Replace "replace" 2 2,
    Matches "matches" 1 1,
    MatchesFull "matchesFull" 1 1,
    ReplaceMatches "replaceMatches" 2 2,
    Length "length" 0 0,
    ToChars "toChars" 0 0,
    Trim "trim" 0 0,
    Split "split" 1 1,
    Join "join" 0 1,
    Encode "encode" 1 1,
    Decode "decode" 1 1,
    Escape "escape" 1 1,
    Unescape "unescape" 1 1,
    Abs "abs" 0 0,
    Ceiling "ceiling" 0 0,
    Exp "exp" 0 0,
    Floor "floor" 0 0,
    Ln "ln" 0 0,
    Log "log" 1 1,
    Power "power" 1 1,
    Round "round" 0 1,
    Sqrt "sqrt" 0 0,
    Truncate "truncate" 0 0,
    Children "children" 0 0,
    Descendants "descendants" 0 0,
    Trace "trace" 1 2,
    Now "now" 0 0,
    TimeOfDay "timeOfDay" 0 0,
    Today "today" 0 0,
    Not "not" 0 0,
    Is "is" 1 1,
    As "as" 1 1,
    Type "type" 0 0,
    Aggregate "aggregate" 1 2,
    Sort "sort" 0 16,
    LowBoundary "lowBoundary" 0 1,
    HighBoundary "highBoundary" 0 1,
    Precision "precision" 0 0,
    Comparable "comparable" 1 1,
    Extension "extension" 1 1,
    HasExtension "hasExtension" 1 1,
    HasValue "hasValue" 0 0,
    GetValue "getValue" 0 0,
    Resolve "resolve" 0 0,
    ElementDefinition "elementDefinition" 0 0,
    Slice "slice" 2 2,
    CheckModifiers "checkModifiers" 0 16,
    ConformsTo "conformsTo" 1 1,
    MemberOf "memberOf" 1 1,
    Subsumes "subsumes" 1 1,
    SubsumedBy "subsumedBy" 1 1,
    HtmlChecks "htmlChecks" 0 0,
}

impl Function {
    /// Whether its arguments are evaluated once for each item of its input, with that in focus.
    pub(crate) fn has_lambdas(self) -> bool {
        matches!(
            self,
            Self::Exists
                | Self::All
                | Self::Where
                | Self::Select
                | Self::Repeat
                | Self::Iif
                | Self::Trace
                | Self::Aggregate
                | Self::Sort
        )
    }

    /// Whether it works on a string.
    pub(crate) fn takes_string(self) -> bool {
        matches!(
            self,
            Self::IndexOf
                | Self::LastIndexOf
                | Self::Substring
                | Self::StartsWith
                | Self::EndsWith
                | Self::Contains
                | Self::Upper
                | Self::Lower
                | Self::Replace
                | Self::Matches
                | Self::MatchesFull
                | Self::ReplaceMatches
                | Self::Length
                | Self::ToChars
                | Self::Trim
                | Self::Split
                | Self::Encode
                | Self::Decode
                | Self::Escape
                | Self::Unescape
        )
    }

    /// Whether its result hangs on the order of its input.
    pub(crate) fn needs_order(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::Tail | Self::Skip | Self::Take)
    }
}

#[cfg(test)]
mod tests {
    use super::Function;

    #[test]
    fn each_function_is_found_by_its_name() {
        for function in Function::ALL {
            assert_eq!(Function::by_name(function.name()), Some(*function));
            let (least, most) = function.arguments();
            assert!(least <= most);
        }
    }
}
