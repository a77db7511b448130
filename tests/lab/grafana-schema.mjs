// grafana-schema.mjs FOLDER FILE...: holds dashboards to the types of @grafana/schema, in each version of it that
// FOLDER has, or in that of $ONLY. Prints for each version the names that its types do not know, which that Grafana ignores, and ends
// with 1 where a value has another type than a version wants.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, ...files] = process.argv.slice(2);
const ts = createRequire(join(folder, "package.json"))("typescript");

// The types that JSON has: of an enum its words, null for a limit below all, and defaults for what is absent.
const JSON_TYPE = `type Json<T> = unknown extends T ? T : T extends string ? \`\${T}\` : T extends number ? number | null
  : T extends boolean | null | undefined ? T : T extends Array<infer U> ? Json<U>[]
  : T extends object ? { [K in keyof T]?: Json<T[K]> } : T;\n`;
const PANELS = {
  timeseries: "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
  stat: "stat/panelcfg/x/StatPanelCfg_types.gen",
  table: "table/panelcfg/x/TablePanelCfg_types.gen",
  "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
};

const without = (value, unknown) =>
  value instanceof Array ? value.map((item) => without(item, unknown))
  : value instanceof Object ? Object.fromEntries(Object.entries(value)
      .filter(([key]) => !unknown.has(key)).map(([key, item]) => [key, without(item, unknown)]))
  : value;

/// The types of a package: its index, and the files of its panels.
function typesOf(root) {
  const first = (...names) => names.map((name) => join(root, "dist", name)).find((name) =>
    ["", ".d.ts", ".d.mts", ".d.cts"].some((ending) => existsSync(name + ending) && /\.d\.[mc]?ts$/.test(name + ending)));
  const panel = (name) => first("types/raw/composable/" + name.replace(/\w+_types/, "types") + ".d.ts",
    "esm/raw/composable/" + name + ".d.ts");
  return {
    index: first("types/index.d.ts", "esm/index.d.mts", "esm/index.d.ts", "index.d.ts"),
    panels: Object.fromEntries(Object.entries(PANELS).map(([kind, name]) => [kind, panel(name)])),
  };
}

/// A program in TypeScript that gives each part of the dashboards its type.
function program(types, boards, unknown) {
  let text = `import type * as S from "@grafana/schema";\n${JSON_TYPE}`;
  for (const [kind, file] of Object.entries(types.panels)) {
    text += `import type * as ${kind.replace("-", "_")} from ${JSON.stringify(file)};\n`;
  }
  let count = 0;
  const add = (type, value) => {
    count += 1;
    text += `export const c${count}: Json<${type}> = ${JSON.stringify(without(value, unknown))};\n`;
  };
  for (const board of boards) {
    const { panels, annotations, templating, ...rest } = board;
    add("S.Dashboard", rest);
    for (const variable of templating.list) add("S.VariableModel", variable);
    // What only one data source's annotations and queries have is not in these types.
    for (const { query, expr, step, fromAnnotations, titleColumn, tagsColumn, textColumn, titleFormat, textFormat,
      tagKeys, ...known } of annotations.list) add("S.AnnotationQuery", known);
    for (const panel of panels) {
      if (panel.type === "row") {
        add("S.RowPanel", panel);
        continue;
      }
      const { targets, options, fieldConfig, ...common } = panel;
      const { custom, ...defaults } = fieldConfig.defaults;
      const kind = panel.type.replace("-", "_");
      add("S.Panel", common);
      add(`${kind}.Options`, options);
      add("S.FieldConfigSource", { ...fieldConfig, defaults });
      if (custom) add(panel.type === "table" ? "S.TableFieldOptions" : panel.type === "stat" ? "object" : `${kind}.FieldConfig`, custom);
      for (const { refId, datasource } of targets) add("S.DataQuery", { refId, datasource });
    }
  }
  return text;
}

function faults(types, text) {
  const name = join(folder, "check.ts");
  const options = { noEmit: true, strict: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, baseUrl: folder,
    allowImportingTsExtensions: true, paths: { "@grafana/schema": [types.index] } };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (file, ...rest) => file === name
    ? ts.createSourceFile(name, text, options.target) : getSourceFile.call(host, file, ...rest);
  host.fileExists = (file) => file === name || fileExists.call(host, file);
  host.readFile = (file) => (file === name ? text : readFile.call(host, file));
  return ts.getPreEmitDiagnostics(ts.createProgram([name], options, host));
}

const boards = files.map((file) => JSON.parse(readFileSync(file, "utf8")));
const order = (name) => name.split("-")[1].split(".").map((part) => part.padStart(4, "0")).join();
const packages = readdirSync(join(folder, "node_modules")).filter((name) => name.startsWith(`grafana-${process.env.ONLY ?? ""}`));
packages.sort((one, other) => order(one).localeCompare(order(other)));
for (const name of packages) {
  const types = typesOf(join(folder, "node_modules", name));
  const unknown = new Set();
  for (;;) {
    const found = faults(types, program(types, boards, unknown));
    const before = unknown.size;
    for (const { code, messageText, start, file } of found) {
      const message = ts.flattenDiagnosticMessageText(messageText, "\n");
      const excess = /'"?([^'"]+)"?' does not exist in type/.exec(message);
      if (excess) {
        unknown.add(excess[1]);
        continue;
      }
      const line = file ? file.text.slice(0, start).split("\n").length : 0;
      console.error(`${name}: TS${code}: ${message}\n  ${file?.text.split("\n")[line - 1]?.slice(0, 300)}`);
      process.exitCode = 1;
    }
    if (unknown.size === before) break;
  }
  console.log(`${name.slice(8)}: ${[...unknown].sort().join(" ")}`);
}
