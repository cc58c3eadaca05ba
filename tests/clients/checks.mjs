// What the scripts of npm's clients share, as checks.py does for Python's: where the server is, what it is asked, and how
// a check is told.

export const { LASER_URL: url, LASER_MODEL: model } = process.env;
export const question = "Given 37, 82, 51, 92, what is the largest number?";
export const answer = "92";

let failed = false;

export async function check(name, what) {
  try {
    await what();
    console.log(`ok\t${name}`);
  } catch (error) {
    failed = true;
    console.error(error);
    console.log(`failed\t${name}\t${error.name}: ${String(error.message).replace(/\s+/g, " ").slice(0, 300)}`);
  }
}

// Ends the script; its status says whether all checks have passed.
export function done() {
  process.exit(failed ? 1 : 0);
}
