package linuxkit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzParse: no input stops the parser, and what it accepts has a metadata
// document that it accepts again, of the same meaning.
func FuzzParse(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte("services: [{name: a, image: b, binds: &x ['/a:/b']}, {<<: [{binds: *x}], name: c, image: d}]"))
	f.Add([]byte("files:\n- path: a\n  contents: |\n    x\n- {path: b, metadata: json}\n"))
	f.Add([]byte("init: [\"\\u00e9\", 'a''b', !!str 1, ~, 0x1, 1e3, .inf]\n---\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(Source{"f", data})
		if err != nil {
			if cfg != nil {
				t.Error("a configuration beside an error")
			}
			return
		}
		Lint(cfg, Info{})
		for _, c := range cfg.Containers() {
			if strings.Contains(strings.TrimPrefix(c.Dir(), "containers/"), "..") && strings.Contains(c.Dir(), "/../") {
				t.Errorf("container leaves its folder: %s", c.Dir())
			}
		}
		for _, p := range cfg.Parents() {
			if strings.HasPrefix(p.Path, "/") || strings.HasPrefix(p.Path, "..") {
				t.Errorf("parent %q", p.Path)
			}
		}
		for _, format := range []string{"yaml", "json"} {
			out, err := cfg.Metadata(format)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(Source{format, out})
			if err != nil {
				t.Fatalf("%s: %v\nfrom\n%s\nmade\n%s", format, err, data, out)
			}
			if got, _ := again.Metadata(format); !bytes.Equal(got, out) {
				t.Errorf("%s: got\n%s\nwant\n%s", format, got, out)
			}
		}
	})
}

// FuzzParseLabel: no label stops the build, and what is accepted can be
// merged and written as config.json and runtime.json.
func FuzzParseLabel(f *testing.F) {
	f.Add(`{"capabilities": ["all"], "binds": ["/a:/b:ro"], "runtime": {"mkdir": ["/x"]}, "devices": [{"path": "all", "type": "a"}]}`)
	f.Add("binds:\n- /a:/b\nnet: new\nrlimits: ['nofile,1,unlimited']\n")
	f.Add(`{"resources": {"blockio": {"weightDevice": [{"major": 1, "weight": 65535}]}, "pids": {"limit": -1}}, "uid": 4294967295}`)
	f.Add(`{a: {b: [c`)
	f.Fuzz(func(t *testing.T, label string) {
		s, err := ParseLabel("x", label)
		if err != nil {
			return
		}
		merged := merge(&Settings{}, &s, v1.Config{}, Options{})
		spec, err := names{}.buildSpec(&merged, Options{})
		if err != nil {
			return // names of volumes and containers that are not there
		}
		for _, v := range []any{spec, buildRuntime(&merged.Runtime, "d", "r", merged.Readonly.Value)} {
			data, err := marshal(v)
			if err != nil || !json.Valid(data) {
				t.Errorf("%v: %s", err, data)
			}
		}
	})
}

// FuzzDecompressKernel: offsets of a kernel's header come from the image.
func FuzzDecompressKernel(f *testing.F) {
	f.Add(zip("x"))
	f.Add(bzImage(0x20f, 1, zip("vmlinux")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1<<16 {
			decompressKernel(data)
		}
	})
}
