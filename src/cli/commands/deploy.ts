import { throughServer } from "../../runtime/beside.ts";
import { flipPackage, type PackagePromotion, promotePackage } from "../../runtime/delivery.ts";
import { runtimeErrors } from "../../runtime/errors.ts";
import { modelContext, openOnnx } from "../../runtime/models.ts";
import { packageFiles } from "../../runtime/package_files.ts";
import { absolute } from "../../runtime/project.ts";
import { type Command, type Outcome, PROJECT_FLAGS, requireWord } from "../command.ts";
import { EXIT_NO } from "../errors.ts";
import { locationOf } from "../project.ts";

export const promoteCommand: Command = {
  name: "promote",
  words: "<model> <package directory>",
  summary: "take a signed package through smoke and regression to the live role",
  flags: {
    ...PROJECT_FLAGS,
    "accept-inconclusive": {
      kind: "switch",
      describe: "promote although there are too few labelled requests to compare on",
    },
  },
  async run(world, input) {
    const model = requireWord(promoteCommand, input, 0, "the model");
    const directory = absolute(world, requireWord(promoteCommand, input, 1, "the package directory"));
    const acceptInconclusive = input.on("accept-inconclusive");
    const body = { directory, accept_inconclusive: acceptInconclusive };
    const promotion = await throughServer<PackagePromotion>(
      world,
      locationOf(input),
      `/v1/models/${model}/promote`,
      body,
      async (engine) => {
        const files = await packageFiles(engine, directory);
        return promotePackage(engine, modelContext(engine, model), openOnnx(engine), files, { acceptInconclusive });
      },
    );
    return { json: promotion, text: promotionText(promotion), exit: promotion.promoted ? 0 : EXIT_NO };
  },
};

function promotionText(promotion: PackagePromotion): string {
  const gates = promotion.verdicts.map((verdict) => `  ${verdict.gate}: ${verdict.outcome}: ${verdict.reason}`);
  const name = `${promotion.model} ${promotion.version} (${promotion.digest.slice(7, 19)})`;
  const { refused } = promotion;
  const head =
    refused === undefined
      ? `${name} is live`
      : `${name} is refused: ${refused.code}: ${refused.reason}\n  fix: ${refused.fix}`;
  return [head, ...gates].join("\n");
}

function flipCommand(direction: "rollback" | "rollforward", summary: string): Command {
  const command: Command = {
    name: direction,
    words: "<model>",
    summary,
    flags: PROJECT_FLAGS,
    async run(world, input): Promise<Outcome> {
      const model = requireWord(command, input, 0, "the model");
      const flipped = await throughServer(
        world,
        locationOf(input),
        `/v1/models/${model}/${direction}`,
        {},
        async (engine) => {
          modelKnown(engine.project.config.models, model);
          return flipPackage(engine, modelContext(engine, model), openOnnx(engine), direction);
        },
      );
      return { json: flipped, text: `${model}: ${flipped.from.version} -> ${flipped.to.version}` };
    },
  };
  return command;
}

function modelKnown(models: Readonly<Record<string, unknown>>, model: string): void {
  if (Object.hasOwn(models, model)) return;
  throw runtimeErrors.error("unknown_model", `there is no model "${model}"`, { place: `models.${model}` });
}

export const rollback: Command = flipCommand("rollback", "make the package live that was live before");
export const rollforward: Command = flipCommand("rollforward", "undo a rollback");
