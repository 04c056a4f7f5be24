// What the scripts in JavaScript share: where the clinic is, and one printed line per check.
import { isDeepStrictEqual } from "node:util";

export const base = process.env.FHIR_BASE;
export const key = process.env.FHIR_KEY;

let failed = 0;

export function check(name, found, expected) {
  const holds = isDeepStrictEqual(found, expected);
  console.log(`${holds ? "ok    " : "FAILED"}  ${name}`);
  if (!holds) {
    failed += 1;
    console.log(`        found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  }
}

// What a call is rejected with.
export async function rejection(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

// How many resources of each type there are.
export function types(resources) {
  const counts = {};
  for (const { resourceType } of resources) {
    counts[resourceType] = (counts[resourceType] ?? 0) + 1;
  }
  return counts;
}

export function end() {
  process.exitCode = failed ? 1 : 0;
}
