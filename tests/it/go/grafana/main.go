// Reads what we have made for Grafana as its own types say, strictly: a field that they do not have is an error, in panels and
// queries too. Standard input is a JSON object {"dashboard": [...], "rule": [...], "contactPoint": [...], "policy": [...]}.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/alerting"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

type checked interface {
	UnmarshalJSONStrict(raw []byte) error
	Validate() error
}

var kinds = map[string]func() checked{
	"dashboard":    func() checked { return dashboard.NewDashboard() },
	"rule":         func() checked { return alerting.NewRule() },
	"contactPoint": func() checked { return alerting.NewContactPoint() },
	"policy":       func() checked { return alerting.NewNotificationPolicy() },
}

func main() {
	plugins.RegisterDefaultPlugins()
	var given map[string][]json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	failed := false
	for kind, all := range given {
		for nth, raw := range all {
			value := kinds[kind]()
			for _, err := range []error{value.UnmarshalJSONStrict(raw), value.Validate()} {
				// Their lists of errors are never nil, but empty.
				if err != nil && err.Error() != "" {
					fmt.Printf("%s %d: %v\n", kind, nth, err)
					failed = true
				}
			}
		}
		fmt.Printf("%s: %d\n", kind, len(all))
	}
	if failed {
		os.Exit(1)
	}
}
