import { formatInstant } from "../../base/time.ts";
import { withEngine } from "../../runtime/engine.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { rewrapProject, rotateProject } from "../../runtime/rotate.ts";
import { listKeys } from "../../store/key_list.ts";
import { type Command, PROJECT_FLAGS, requireText } from "../command.ts";
import { grouped, locationOf, progressLine, table } from "../project.ts";

export const keysList: Command = {
  name: "keys list",
  summary: "the store key and the keys of streams and periods, with what is sealed under each; no key itself",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    return withEngine(world, locationOf(input), "read", async ({ store }) => {
      const list = listKeys(store);
      const stored = list.store_keys.map(
        ({ key_id, provider, current }) => `store key ${key_id}, wrapped by ${provider}${current ? "" : ", retired"}`,
      );
      const rows = list.stream_keys.map((key) => [
        key.stream ?? "(damaged)",
        key.from === null ? "" : formatInstant(key.from).slice(0, 10),
        key.to === null ? "" : formatInstant(key.to).slice(0, 10),
        grouped(key.segments),
        grouped(key.bytes),
        key.current ? "" : "retired",
      ]);
      const { segments, bytes } = list.retired;
      const lines = [...stored, "", table(["stream", "from", "to", "segments", "bytes", ""], rows)];
      if (list.store_keys.length > 1) {
        lines.push(
          "",
          `A rotation is not finished: ${segments} segments (${grouped(bytes)} bytes) are to be sealed again.`,
        );
        lines.push("Run `mlpe keys rotate` to finish it.");
      }
      return { json: list, text: lines.join("\n") };
    });
  },
};

export const keysRotate: Command = {
  name: "keys rotate",
  summary:
    "make new data keys and seal everything stored under them, also while a server runs; an interrupted one is finished",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const show = progressLine(world);
    const rotation = await rotateProject(world, locationOf(input), ({ step, done, of }) =>
      show(step === "segments" ? `${done} of ${of} segments sealed again` : step),
    );
    const { key_id: keyId, retired, resumed, segments, bytes } = rotation;
    const lines = [
      `${resumed ? "the unfinished rotation is finished: " : ""}store key ${keyId}; ${segments} segments (${grouped(bytes)} bytes) sealed again`,
      `store key ${retired.join(", ")} and the stream keys under it are gone: nothing here is sealed under them`,
      "Backups made before still open with the key file, as they hold the old keys wrapped.",
    ];
    return { json: rotation, text: lines.join("\n") };
  },
};

export const keysRewrap: Command = {
  name: "keys rewrap",
  summary:
    "have another key file wrap the store's keys, also while a server runs; nothing else is written, whatever the size",
  flags: {
    ...PROJECT_FLAGS,
    to: { kind: "text", describe: "the new key file, outside the data directory; made if it is not there" },
  },
  async run(world, input) {
    const path = absolute(world, requireText(keysRewrap, input, "to"));
    const { config, dataDirectory } = await openProject(world, locationOf(input));
    const from = config.keys.path;
    const { store_keys } = await rewrapProject(world, locationOf(input), path);
    const lines = [
      `${dataDirectory} opens with ${path} from now on, and no more with ${from}.`,
      "Now write into mlpe.yaml, for the commands and the next start:",
      "",
      "keys:",
      `  path: ${JSON.stringify(path)}`,
      "",
      "Keep a copy of the new file elsewhere. Backups made before open with the old file only.",
    ];
    return { json: { data: dataDirectory, from, to: path, store_keys }, text: lines.join("\n") };
  },
};
