// grafana-types FILE...: reads dashboards, and files that provision alert rules, as Grafana's own published
// types have them: a field that these do not know, one that is missing, or one of another type is refused.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/alerting"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// The types have rules as Grafana's HTTP interface takes them; a file has these around them.
type provisioned struct {
	APIVersion int `json:"apiVersion"`
	Groups     []struct {
		OrgID    int64                        `json:"orgId"`
		Name     string                       `json:"name"`
		Folder   string                       `json:"folder"`
		Interval string                       `json:"interval"`
		Rules    []map[string]json.RawMessage `json:"rules"`
	} `json:"groups"`
}

// The SDK also returns lists of no errors.
func found(err error) error {
	if err == nil || err.Error() == "" {
		return nil
	}
	return err
}

func alerts(text []byte) error {
	file := provisioned{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return err
	}
	for _, group := range file.Groups {
		for _, fields := range group.Rules {
			fields["orgID"], _ = json.Marshal(group.OrgID)
			fields["folderUID"], _ = json.Marshal(group.Folder)
			fields["ruleGroup"], _ = json.Marshal(group.Name)
			text, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			rule := alerting.NewRule()
			if err := found(rule.UnmarshalJSONStrict(text)); err != nil {
				return fmt.Errorf("rule %s: %w", fields["title"], err)
			}
			if err := found(rule.Validate()); err != nil {
				return fmt.Errorf("rule %s: %w", fields["title"], err)
			}
		}
	}
	return nil
}

func board(text []byte) error {
	read := dashboard.NewDashboard()
	if err := found(read.UnmarshalJSONStrict(text)); err != nil {
		return err
	}
	return found(read.Validate())
}

func check(text []byte) error {
	kind := struct {
		Groups json.RawMessage `json:"groups"`
	}{}
	if err := json.Unmarshal(text, &kind); err != nil {
		return err
	}
	if kind.Groups != nil {
		return alerts(text)
	}
	return board(text)
}

func main() {
	plugins.RegisterDefaultPlugins()
	status := 0
	for _, name := range os.Args[1:] {
		text, err := os.ReadFile(name)
		if err == nil {
			err = check(text)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			status = 1
		}
	}
	os.Exit(status)
}
