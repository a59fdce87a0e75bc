import type { World } from "../../base/world.ts";
import { withEngine } from "../../runtime/engine.ts";
import { feedLine } from "../../runtime/stream_rows.ts";
import { type FeedPosition, parsePosition, readFeed, rowsAtOnce } from "../../store/feed.ts";
import type { Store } from "../../store/port.ts";
import { streamNamed } from "../../store/stream_named.ts";
import { type Command, PROJECT_FLAGS, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { locationOf } from "../project.ts";

/** A reader that waits looks at the latest this often whether it was asked to stop. */
const LOOK_MS = 200;
/** Lines that are printed before the reader of standard output is waited for. */
const LINES_AHEAD_MAX = 256;

export const tap: Command = {
  name: "tap",
  words: "<stream>",
  summary:
    "print a stream's rows as JSON lines in the order they were committed, also live; beside a running server too",
  flags: {
    ...PROJECT_FLAGS,
    after: { kind: "text", describe: "begin after this _position or commit number; default the beginning" },
    follow: { kind: "switch", describe: "wait for more until stopped (Ctrl-C)" },
    limit: { kind: "number", describe: "most rows; default all" },
  },
  async run(world, input) {
    const name = requireWord(tap, input, 0, "the stream");
    const after = parsePosition(input.text("after") ?? "0");
    if (!after) {
      const message = `--after is "${input.text("after")}", which is no position`;
      const fix = "Give a commit number, or the _position of a row.";
      throw cliErrors.error("bad_usage", message, { place: `mlpe ${tap.name}`, fix });
    }
    const limit = input.number("limit") ?? Number.POSITIVE_INFINITY;
    const following: Following = { name, limit, follow: input.on("follow"), position: after, rows: 0, stopped: false };
    if (following.follow) {
      void world.stopRequested().then(() => {
        following.stopped = true;
      });
    }
    await withEngine(world, locationOf(input), "read", ({ store }) => follow(world, store, following));
    return { json: {}, text: "", printed: true };
  },
};

interface Following {
  readonly name: string;
  readonly limit: number;
  readonly follow: boolean;
  position: FeedPosition;
  /** Printed so far. */
  rows: number;
  stopped: boolean;
}

async function follow(world: World, store: Store, following: Following): Promise<void> {
  const { stream } = await streamNamed(store, following.name);
  const { limit } = following;
  let maxRows = rowsAtOnce([]);
  while (following.rows < limit && !following.stopped) {
    const page = await readFeed(store, stream, following.position, Math.min(maxRows, limit - following.rows));
    if (page.parts.length > 0) maxRows = rowsAtOnce(page.parts);
    const given = page.rows.slice(0, limit - following.rows);
    for (let from = 0; from < given.length && !following.stopped; from += LINES_AHEAD_MAX) {
      const part = given.slice(from, from + LINES_AHEAD_MAX);
      await world.printed(part.map(feedLine).join("\n"));
      following.rows += part.length;
      following.position = part.at(-1)!.position;
    }
    if (following.stopped) return;
    following.position = page.next;
    if (!page.atHead) continue;
    if (!following.follow) return;
    await store.waitBeyond(page.next.commitNo, LOOK_MS);
  }
}
