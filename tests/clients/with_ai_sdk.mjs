// Vercel's AI SDK over OpenAI's and Anthropic's dialect, and the npm clients of OpenAI, Anthropic and Ollama.

import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { answer, check, done, model, question, url } from "./checks.mjs";

const asked = { prompt: question, maxOutputTokens: 400, temperature: 0, maxRetries: 0 };
const messages = [{ role: "user", content: question }];
const largest = z.object({ number: z.number().int() });

const compatible = createOpenAICompatible({
  name: "laser", baseURL: `${url}/v1`, apiKey: "unused", supportsStructuredOutputs: true,
})(model);
const responses = createOpenAI({ baseURL: `${url}/v1`, apiKey: "unused" }).responses(model);
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "unused" })(model);
const thinking = { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } };

await check("AI SDK, openai-compatible: a text and its thought", async () => {
  const { text, reasoningText } = await generateText({ ...asked, model: compatible });
  assert(text.includes(answer), text);
  assert(reasoningText?.includes(answer), reasoningText);
});
await check("AI SDK, openai-compatible: a stream", async () => {
  assert((await streamText({ ...asked, model: compatible }).text).includes(answer));
});
await check("AI SDK, responses: a text", async () => {
  const { text } = await generateText({ prompt: question, maxOutputTokens: 400, maxRetries: 0, model: responses });
  assert(text.includes(answer), text);
});
await check("AI SDK, anthropic: a text and its thought", async () => {
  const asking = { prompt: question, maxOutputTokens: 400, maxRetries: 0, model: anthropic, providerOptions: thinking };
  const { text, reasoningText } = await generateText(asking);
  assert(text.includes(answer), text);
  assert(reasoningText?.includes(answer), reasoningText);
  assert((await streamText(asking).text).includes(answer));
});
await check("AI SDK: generateObject", async () => {
  const { object } = await generateObject({ ...asked, model: compatible, schema: largest });
  assert(Number.isInteger(object.number), object);
});
await check("AI SDK: tools", async () => {
  const numbers = z.object({ numbers: z.array(z.number().int()) });
  const tools = { largest: tool({ description: "Finds the largest.", inputSchema: numbers, execute: () => 92 }) };
  const { toolCalls } = await generateText({ ...asked, model: compatible, tools, toolChoice: "required" });
  assert.equal(toolCalls[0].toolName, "largest");
  await generateText({ ...asked, model: compatible, tools, stopWhen: stepCountIs(3) });
});

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
await check("openai: a chat", async () => {
  const reply = await openai.chat.completions.create({ model, messages, max_tokens: 400 });
  assert(reply.choices[0].message.content.includes(answer));
});
await check("openai: parse", async () => {
  const response_format = zodResponseFormat(largest, "largest");
  const reply = await openai.chat.completions.parse({ model, messages, response_format, max_tokens: 400 });
  assert(Number.isInteger(reply.choices[0].message.parsed.number));
});
await check("openai: runTools", async () => {
  const integers = { a: { type: "integer" } };
  const parameters = { type: "object", properties: integers, required: ["a"], additionalProperties: false };
  const called = { name: "twice", strict: true, parameters, parse: JSON.parse, function: ({ a }) => 2 * a, description: "Doubles." };
  const runner = openai.chat.completions.runTools({
    model, messages, max_tokens: 400, tools: [{ type: "function", function: called }],
    tool_choice: { type: "function", function: { name: "twice" } },  // a model of 2M parameters calls none by itself
  });
  assert.equal((await runner.finalFunctionToolCall()).name, "twice");
  assert(await runner.finalFunctionToolCallResult());
});
await check("@anthropic-ai/sdk: a message and a stream", async () => {
  const client = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
  const asking = { model, max_tokens: 400, messages, thinking: { type: "enabled", budget_tokens: 300 } };
  const reply = await client.messages.create(asking);
  assert.deepEqual(reply.content.map((block) => block.type), ["thinking", "text"]);
  assert((await client.messages.stream(asking).finalText()).includes(answer));
});
await check("ollama: a chat, a stream and the list of models", async () => {
  const client = new Ollama({ host: url });
  const reply = await client.chat({ model, messages, think: true, options: { num_predict: 400 } });
  assert(reply.message.content.includes(answer));
  assert(reply.message.thinking.includes(answer));
  let said = "";
  for await (const part of await client.chat({ model, messages, stream: true })) said += part.message.content;
  assert(said.includes(answer), said);
  assert.equal((await client.list()).models[0].model, `${model}:latest`);
});

done();
