import { SIGNATURE_FILE } from "../../contract/model_package.ts";
import { listModels } from "../../delivery/promote.ts";
import { generateSigningKey, signPackage, verifyPackage } from "../../delivery/sign.ts";
import { withEngine } from "../../runtime/engine.ts";
import { packageFiles } from "../../runtime/package_files.ts";
import { absolute, openProject } from "../../runtime/project.ts";
import { readPackage } from "../../scoring/package.ts";
import { type Command, PROJECT_FLAGS, requireText, requireWord } from "../command.ts";
import { cliErrors } from "../errors.ts";
import { locationOf, table } from "../project.ts";

export const modelKeygen: Command = {
  name: "model keygen",
  summary: "make an Ed25519 key pair for signing packages",
  flags: {
    private: { kind: "text", describe: "where the private key goes (PEM, mode 0600)" },
    public: { kind: "text", describe: "where the public key goes; list it under `trust` in the config" },
  },
  async run(world, input) {
    const [secret, open] = ["private", "public"].map((flag) => absolute(world, requireText(modelKeygen, input, flag)));
    for (const path of [secret!, open!]) {
      if (await world.files.exists(path)) throw cliErrors.error("output_exists", `${path} exists`, { place: path });
    }
    const { privatePem, publicPem } = generateSigningKey(world.random);
    await world.files.write(secret!, privatePem, 0o600);
    await world.files.write(open!, publicPem);
    return { json: { private: secret, public: open }, text: `private key: ${secret}\npublic key:  ${open}` };
  },
};

export const modelSign: Command = {
  name: "model sign",
  words: "<package directory>",
  summary: "check a package whole and sign its digest",
  flags: { key: { kind: "text", describe: "the private key (PEM)" } },
  async run(world, input) {
    const directory = absolute(world, requireWord(modelSign, input, 0, "the package directory"));
    const key = new TextDecoder().decode(await world.files.read(absolute(world, requireText(modelSign, input, "key"))));
    const { digest } = readPackage(await packageFiles({ world }, directory));
    await world.files.write(`${directory}/${SIGNATURE_FILE}`, signPackage(digest, key));
    return { json: { digest, signature: `${directory}/${SIGNATURE_FILE}` }, text: `signed ${digest}` };
  },
};

export const modelVerify: Command = {
  name: "model verify",
  words: "<package directory>",
  summary: "check a package's files and that a trusted key signed it",
  flags: PROJECT_FLAGS,
  async run(world, input) {
    const directory = absolute(world, requireWord(modelVerify, input, 0, "the package directory"));
    const { trust } = await openProject(world, locationOf(input));
    const { digest, manifest, signature } = readPackage(await packageFiles({ world }, directory));
    const { signer } = verifyPackage(digest, signature, trust);
    return {
      json: { digest, version: manifest.version, signer },
      text: `${manifest.name} ${manifest.version}\n${digest}\nsigned by ${signer}`,
    };
  },
};

export const modelList: Command = {
  name: "model list",
  summary: "list the models: what is live, and what rollback and rollforward would make live",
  flags: PROJECT_FLAGS,
  run: (world, input) =>
    withEngine(world, locationOf(input), "read", async ({ store, project }) => {
      const models = await listModels(store, Object.keys(project.config.models));
      const show = (deployed: { version: string; digest: string } | null) =>
        deployed === null ? "-" : `${deployed.version} ${deployed.digest.slice(7, 19)}`;
      const rows = models.map((model) => [model.name, show(model.live), show(model.rollback), show(model.rollforward)]);
      return { json: models, text: table(["model", "live", "rollback to", "rollforward to"], rows) };
    }),
};
