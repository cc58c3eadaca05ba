// Claude Code itself, with a system prompt and tools for which the bundled model has room, and with all that it has.

import assert from "node:assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const { LASER_URL: url, LASER_MODEL: model, PATH: path } = process.env;
const question = "Given 37, 82, 51, 92, what is the largest number?";
const answer = "92";
const claude = join(dirname(fileURLToPath(import.meta.url)), "node_modules", ".bin", "claude");
const home = mkdtempSync(join(tmpdir(), "claude-"));
const env = {
  PATH: path, HOME: home, ANTHROPIC_BASE_URL: url, ANTHROPIC_AUTH_TOKEN: "unused", NO_PROXY: "127.0.0.1,localhost",
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", CLAUDE_CODE_MAX_RETRIES: "0",
  // what it says beside the question leads a model of 2M parameters astray, which then finds no end
  MAX_THINKING_TOKENS: "100", CLAUDE_CODE_MAX_OUTPUT_TOKENS: "200",
};
const small = ["--system-prompt", "Be brief.", "--disable-slash-commands", "--tools"];
const ends = [answer, "exceeded the 200 output token maximum"];
let failed = false;

async function check(name, what) {
  try {
    await what();
    console.log(`ok\t${name}`);
  } catch (error) {
    failed = true;
    console.error(error);
    console.log(`failed\t${name}\t${error.name}: ${String(error.message).replace(/\s+/g, " ").slice(0, 300)}`);
  }
}

// Returns the messages of one turn; the last tells how it ended.
function told(...more) {
  const words = ["--print", question, "--output-format", "stream-json", "--verbose", "--no-session-persistence", ...more];
  const done = spawnSync(claude, words, { env, cwd: home, encoding: "utf8", timeout: 150_000, input: "" });
  assert(done.stdout, `${done.error ?? ""} ${done.stderr}`);
  return done.stdout.trim().split("\n").map((line) => JSON.parse(line));
}

function blocks(messages) {
  return messages.filter(({ type }) => type === "assistant").flatMap(({ message }) => message.content);
}

function answered(messages) {
  const { result } = messages.at(-1);
  assert(ends.some((end) => result?.includes(end)), JSON.stringify(messages.at(-1)));
  return blocks(messages).map(({ type }) => type);
}

await check("a question, by its own name of a model", async () => {
  assert.deepEqual(answered(told(...small, "")).slice(0, 2), ["thinking", "text"]);
});
await check("a question, by the server's name of the model", async () => {
  assert(answered(told(...small, "", "--model", model)).includes("text"));
});
await check("a tool is offered", async () => {
  const messages = told(...small, "Read");
  assert.deepEqual(messages.find(({ subtype }) => subtype === "init").tools, ["Read"]);
  answered(messages);
});
await check("all of its tools: an answer, or told that they are too long", async () => {
  const { is_error: wrong, result } = told().at(-1);
  assert(wrong ? /too long/i.test(result) : result.includes(answer), result);
});
process.exit(failed ? 1 : 0);
