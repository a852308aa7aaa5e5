package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestReadBuildInfo(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	vcs := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.time", Value: "2026-11-21T14:00:00Z"}, {Key: "vcs.modified", Value: "true"},
	}
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		want buildInfo
		text string
	}{
		{"nothing known", nil, buildInfo{Version: "unknown"}, "hooksmith unknown\ngo "},
		{"tests", &debug.BuildInfo{}, buildInfo{Version: "(devel)"}, "hooksmith (devel)\ngo "},
		{"go install", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, buildInfo{Version: "v1.2.3"}, "hooksmith v1.2.3\ngo "},
		{
			"checkout", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs},
			buildInfo{Version: "(devel)", Commit: "0123abc", Date: "2026-11-21T14:00:00Z", Modified: true},
			"commit    0123abc (with local changes)\ndate      2026-11-21T14:00:00Z\n",
		},
	} {
		tt.want.Go, tt.want.Platform = runtime.Version(), platform
		got := readBuildInfo(tt.info)
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		if !strings.Contains(got.String(), tt.text) {
			t.Errorf("%s: text %q lacks %q", tt.name, got, tt.text)
		}
	}
}
