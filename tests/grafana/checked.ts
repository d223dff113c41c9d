// What a dashboard's JSON may be, by Grafana's own types. JSON has texts where TypeScript has enums,
// and leaves out what has a default; no key may be there that Grafana does not know.
import type { Dashboard, FieldConfig, Panel } from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as logs from "@grafana/schema/dist/esm/raw/composable/logs/panelcfg/x/LogsPanelCfg_types.gen";
import type * as loki from "@grafana/schema/dist/esm/raw/composable/loki/dataquery/x/LokiDataQuery_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as states from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer E)[]
      ? Json<E>[]
      : T extends object
        ? { [K in keyof T]: Json<T[K]> }
        : T;
type Part<T> = T extends (infer E)[]
  ? Part<E>[]
  : T extends object
    ? { [K in keyof T]?: Part<T[K]> }
    : T;

type Source<Kind extends string> = { type: Kind; uid: `\${${Kind}}` };
// The plugins of Prometheus and Jaeger have their own types, which the package does not hold.
type Prometheus = {
  datasource: Source<"prometheus">;
  refId: string;
  expr: string;
  legendFormat: string;
  exemplar: boolean;
  instant: boolean;
  range: boolean;
  format: "time_series" | "table" | "heatmap";
};
type Jaeger = {
  datasource: Source<"jaeger">;
  refId: string;
  queryType: "search";
  service: string;
  tags: string;
  minDuration: string;
  limit: number;
};
type Loki = Json<Omit<loki.LokiDataQuery, "datasource">> & { datasource: Source<"loki"> };

type Kind<Name extends string, Options, Custom = Record<string, never>> = {
  id: number;
  type: Name;
  title: string;
  description: string;
  datasource: Source<"prometheus"> | Source<"loki"> | Source<"jaeger">;
  gridPos: Json<NonNullable<Panel["gridPos"]>>;
  targets: (Prometheus | Loki | Jaeger)[];
  options: Part<Json<Options>>;
  fieldConfig: {
    defaults: Part<Json<Omit<FieldConfig, "custom">>> & { custom?: Part<Json<Custom>> };
    overrides: Json<NonNullable<Panel["fieldConfig"]>["overrides"]>;
  };
  transformations?: Json<NonNullable<Panel["transformations"]>>;
  links?: Json<NonNullable<Panel["links"]>>;
};
type Row = {
  id: number;
  type: "row";
  title: string;
  collapsed: false;
  gridPos: Json<NonNullable<Panel["gridPos"]>>;
  panels: never[];
};

type Variables = NonNullable<NonNullable<Dashboard["templating"]>["list"]>;
type Variable = Part<Json<Variables[number]>> & {
  type: string;
  name: string;
  label: string;
  definition?: string;
};
type Annotations = NonNullable<NonNullable<Dashboard["annotations"]>["list"]>;
type Annotation = Omit<Json<Annotations[number]>, "target" | "datasource"> & {
  datasource: Source<"loki">;
  target: Omit<Loki, "datasource">;
  expr: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
};

export type Checked = Json<Omit<Dashboard, "panels" | "templating" | "annotations">> & {
  panels: (
    | Row
    | Kind<"heatmap", heatmap.Options, heatmap.FieldConfig>
    | Kind<"logs", logs.Options>
    | Kind<"stat", stat.Options>
    | Kind<"state-timeline", states.Options, states.FieldConfig>
    | Kind<"table", table.Options, table.FieldConfig>
    | Kind<"timeseries", timeseries.Options, timeseries.FieldConfig>
  )[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
};
