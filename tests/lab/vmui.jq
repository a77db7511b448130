# One row of dashboards/metricsql.json as a dashboard of vmui, VictoriaMetrics' own web page, which draws graphs only
# and has no variables: all hosts and devices, and the guest that $guest names. $row counts from 0.

# What all is chosen of need not be asked for.
def filled:
    gsub("\\$__rate_interval"; "1m") | gsub("\\$top"; "20") | gsub("\\$guest"; $guest)
    | gsub("(host|source|device)=~\"\\$[a-z]+\",?"; "") | gsub(",}"; "}") | gsub("{}"; "");

# To vmui a unit is what stands behind the number.
def unit:
    { percent: "%", kbytes: "KiB", KiBs: "KiB/s", Bps: "B/s", pps: "/s", reqps: "/s", "suffix:/s": "/s", none: "" }[.] // .;

.panels as $panels
| [range($panels | length) | select($panels[.].type == "row")] as $starts
| $panels[$starts[$row] + 1:$starts[$row + 1]] as $inside
| {
    title: $panels[$starts[$row]].title | filled,
    rows: [{
        title: $panels[$starts[$row]].title | filled,
        panels: [
            $inside[] | select(.type == "timeseries" or .type == "state-timeline")
            | {
                title, description, width: 4, unit: .fieldConfig.defaults.unit | unit,
                expr: [.targets[].expr | filled], alias: [.targets[].legendFormat]
            }
        ]
    }]
}
