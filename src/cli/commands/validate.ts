import { openProject } from "../../runtime/project.ts";
import { type Command, PROJECT_FLAGS } from "../command.ts";
import { locationOf } from "../project.ts";

export const validate: Command = {
  name: "validate",
  summary: "check the config, its contracts and every expression, without touching data",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const project = await openProject(world, locationOf(input));
    const json = {
      ok: true,
      site: project.config.site,
      sources: [...project.sources.keys()],
      datasets: [...project.datasets.keys()],
      views: [...project.views.values()].map(({ name, digest, shape }) => ({ name, digest, features: shape.features })),
      models: Object.keys(project.config.models),
    };
    const count = (list: readonly unknown[], what: string) => `${list.length} ${what}`;
    const parts = [
      count(json.sources, "sources"),
      count(json.datasets, "datasets"),
      count(json.views, "views"),
      count(json.models, "models"),
    ];
    return { json, text: `${input.text("config")} is valid: ${parts.join(", ")}` };
  },
};
