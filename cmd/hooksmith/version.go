package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildInfo is what the Go linker knows about this binary. Fields that it does
// not know are empty: a build outside of a git checkout has no commit.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"` // of the commit, RFC 3339
	Modified bool   `json:"modified"`       // built from a changed checkout
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print what this binary was built from",
		Long: `Print the version, the commit with its date, and the Go version that this binary
was built from. Include it when you report a problem.`,
		Example: `  hooksmith version
  hooksmith version --json | jq -r .commit`,
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			if asJSON {
				return a.printJSON(v)
			}
			_, err := fmt.Fprint(a.stdout, v)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// buildVersion tells what this process was built from.
func buildVersion() buildInfo {
	info, _ := debug.ReadBuildInfo()
	return readBuildInfo(info)
}

// readBuildInfo picks what a user reports from info, which may be nil.
func readBuildInfo(info *debug.BuildInfo) buildInfo {
	v := buildInfo{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return v
	}
	v.Version = info.Main.Version
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String has one fact a line.
func (v buildInfo) String() string {
	s := fmt.Sprintf("hooksmith %s\n", v.Version)
	if v.Commit != "" {
		changed := ""
		if v.Modified {
			changed = " (with local changes)"
		}
		s += fmt.Sprintf("commit    %s%s\ndate      %s\n", v.Commit, changed, v.Date)
	}
	return s + fmt.Sprintf("go        %s %s\n", v.Go, v.Platform)
}
