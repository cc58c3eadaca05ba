// Claude Code itself, with a system prompt and tools for which the bundled model has room, and with all that it has.

import assert from "node:assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { answer, check, done, model, question, url } from "./checks.mjs";

const { PATH: path } = process.env;
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

// Returns the messages of one turn; the last tells how it ended.
function told(...more) {
  const words = ["--print", question, "--output-format", "stream-json", "--verbose", "--no-session-persistence", ...more];
  const ended = spawnSync(claude, words, { env, cwd: home, encoding: "utf8", timeout: 150_000, input: "" });
  assert(ended.stdout, `${ended.error ?? ""} ${ended.stderr}`);
  return ended.stdout.trim().split("\n").map((line) => JSON.parse(line));
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
done();
