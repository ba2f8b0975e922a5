// Writes numbered events with pino and pino-roll: node pino.mjs KIND FOLDER WRITER COUNT
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import pino from "pino";
import roll from "pino-roll";

const [kind, folder, writer, count] = process.argv.slice(2);
const PAUSE_EVERY_LINES = 50;
const PAUSE_MS = 20;

const stream = await roll({ file: join(folder, "app"), size: "20k", frequency: "daily", dateFormat: "yyyy-MM-dd", extension: ".jsonl", mkdir: true });
const logger = pino(
  {
    messageKey: "description",
    timestamp: pino.stdTimeFunctions.isoTime,
    base: { system: { environment: kind } },
    formatters: { level: (label) => ({ level: label }) },
  },
  stream,
);
for (let number = 1; number <= Number(count); number += 1) {
  logger.info({ eventId: `${writer}-${number}`, category: "api", action: "read" }, `line ${number}`);
  if (number % PAUSE_EVERY_LINES === 0) await setTimeout(PAUSE_MS);
}
await new Promise((resolve, reject) => stream.end ? (stream.once("close", resolve), stream.once("error", reject), stream.end()) : resolve());
