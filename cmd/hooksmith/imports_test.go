package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "hooksmith"

// below lists what a folder's packages may import of ours, besides packages
// below the same folder for the folders that say so with "self". The most
// specific folder counts; "*" stands for everything.
var below = map[string][]string{
	"cmd":     {"*"},
	"publish": {"self", "build"},
	// They look into what others built: initramfs.Read and kernel.Inspect say
	// what the machine's kernel would make of the files.
	"publish/inspect": {"build", "build/initramfs", "kernel"},
	"publish/check":   {"publish/inspect", "publish/verify", "publish/sign", "build", "build/initramfs", "kernel"},
	"build":           {"build/*", "kernel", "embed"},
	"build/initramfs": {"build/rootfs", "build/zstdlong"},
	"build/zstdlong":  {},
	"build/gunzip":    {},
	"build/rootfs":    {},
	"build/linuxkit":  {},
	"build/debian":    {},
	"build/fetch":     {},
	"build/docker":    {},
	// Tests only: they do not import what their users test.
	"build/docker/dockertest": {},
	"build/fetch/fetchtest":   {},
	"kernel":                  {"self"},
	"kernel/drivers":          {"kernel", "guest/modalias"}, // which module is loaded is for HookOS to say
	"kernel/compile":          {"build/docker", "kernel", "kernel/source", "kernel/kconfig"},
	"embed":                   {"self"},
	"serve":                   {"self"},
	"serve/event":             {},
	"serve/hardware":          {},
	"serve/tftp":              {},
	"serve/ipxe":              {"serve/hardware"},
	"serve/lease":             {"serve/event", "serve/hardware"},
	"serve/ra":                {"serve/event", "serve/hardware"},
	"serve/syslog":            {"serve/event", "serve/hardware"},
	"serve/timeline":          {"serve/event", "serve/hardware"},
	"serve/doctor":            {"serve/event", "serve/hardware", "serve/ipxe"},
	"serve/dhcp":              {"serve/event", "serve/hardware", "serve/lease", "serve/ipxe"},
	"serve/web":               {"serve/event", "serve/hardware", "serve/ipxe"},
	"serve/dhcpconf":          {"serve/event", "serve/hardware", "serve/ipxe"},
	"serve/admin/browsertest": {}, // tests only, publish/inspect's too
	"serve/admin":             {"serve/event", "serve/hardware", "serve/ipxe", "serve/timeline", "serve/lease"},
	"guest":                   {"self"},
	"configs":                 {},
	"scripts":                 {"*"}, // what CI calls is not part of the program
}

// onlyIn pins modules to the folders whose business they are.
var onlyIn = map[string][]string{
	"github.com/spf13/cobra":          {"cmd"},
	"github.com/spf13/pflag":          {"cmd"},
	"github.com/vbauerster/mpb":       {"cmd"},
	"github.com/cavaliergopher/cpio":  {"build/initramfs"},
	"pault.ag/go/debian":              {"build/debian"},
	"github.com/ProtonMail/go-crypto": {"build/debian", "kernel/source"}, // what signs inputs: the archive, kernel.org
	"github.com/rogpeppe/go-internal": {},                                // tests only
	"github.com/chromedp":             {"serve/admin/browsertest"},       // tests only
}

type listed struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
}

// ourPackages asks the go command for the packages of this module. The
// guest's are Linux only, so that is what is asked for.
func ourPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...")
	cmd.Env = append(cmd.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ours []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ours
		} else if err != nil {
			t.Fatal(err)
		}
		if folder(p.ImportPath) != "" {
			ours = append(ours, p)
		}
	}
}

// folder is the path of one of our packages inside the module, else "".
func folder(importPath string) string {
	f, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return f
}

// TestImports: imports point one way.
func TestImports(t *testing.T) {
	packages := ourPackages(t)
	if len(packages) < 8 {
		t.Fatalf("go list found only %d packages of %s", len(packages), module)
	}
	for _, p := range packages {
		from := folder(p.ImportPath)
		key := ruleOf(from)
		if key == "" {
			t.Errorf("%s is in no folder of the layout", from)
		}
		for _, imported := range p.Imports {
			to := folder(imported)
			if to != "" && !mayImport(key, to) {
				t.Errorf("%s must not import %s", from, to)
			}
			if to == "" && !pinnedFor(imported, from) {
				t.Errorf("%s must not import %s: it belongs in %v", from, imported, pinnedTo(imported))
			}
		}
	}
}

// ruleOf is the longest key of below that contains from.
func ruleOf(from string) string {
	for f := from; f != "."; f = filepath.Dir(f) {
		if _, ok := below[f]; ok {
			return f
		}
	}
	return ""
}

func mayImport(key, to string) bool {
	return slices.ContainsFunc(below[key], func(allowed string) bool {
		parent, isBelow := strings.CutSuffix(allowed, "/*")
		switch allowed {
		case "*", to:
			return true
		case "self":
			return inside(to, key)
		}
		return isBelow && inside(to, parent) && to != parent
	})
}

func inside(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func pinnedTo(imported string) []string {
	for prefix, folders := range onlyIn {
		if inside(imported, prefix) {
			return folders
		}
	}
	return nil
}

func pinnedFor(imported, from string) bool {
	folders := pinnedTo(imported)
	if folders == nil {
		return true
	}
	return slices.ContainsFunc(folders, func(f string) bool { return inside(from, f) })
}

func TestMayImport(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/hooksmith", "serve", true}, {"cmd/hooksmith/internal/qemu", "build", true},
		{"build", "build/rootfs", true}, {"build", "kernel", true}, {"build", "serve", false}, {"build", "cmd/hooksmith", false},
		{"build/initramfs", "build/rootfs", true}, {"build/rootfs", "build/initramfs", false}, {"build/debian", "build/fetch", false},
		{"kernel", "build/debian", false}, {"kernel", "kernel/modules", true}, {"publish", "build", true}, {"publish", "build/rootfs", false},
		{"serve", "build", false}, {"serve", "serve/dhcp", true}, {"serve/dhcp", "serve/lease", true}, {"serve/dhcp", "serve/timeline", false},
		{"serve/lease", "serve/ipxe", false}, {"serve/web", "serve/web/internal/x", false}, {"guest", "guest/network", true}, {"guest/network", "build/rootfs", false}, {"build/new", "build/rootfs", true},
	} {
		if got := mayImport(ruleOf(tt.from), tt.to); got != tt.want {
			t.Errorf("%s -> %s: %v", tt.from, tt.to, got)
		}
	}
	for _, tt := range []struct {
		imported, from string
		want           bool
	}{
		{"github.com/spf13/cobra", "cmd/hooksmith", true}, {"github.com/spf13/cobra/doc", "build", false},
		{"github.com/vbauerster/mpb/v8/decor", "build/fetch", false}, {"fmt", "build", true}, {"github.com/spf13/cobraX", "build", true},
	} {
		if got := pinnedFor(tt.imported, tt.from); got != tt.want {
			t.Errorf("%s in %s: %v", tt.imported, tt.from, got)
		}
	}
}

// processWide is what only a program may use: libraries get streams, times and
// settings from their callers.
var processWide = []string{
	"os.Exit", "os.Args", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Setenv", "os.Stdin", "os.Stdout", "os.Stderr",
	"fmt.Print", "fmt.Printf", "fmt.Println", "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Print", "log.Printf", "log.Println",
	"slog.Default", "slog.SetDefault", "signal.Notify", "flag.Parse",
}

// TestLibrariesAreQuiet: no library prints, exits or reads the environment.
func TestLibrariesAreQuiet(t *testing.T) {
	for _, p := range ourPackages(t) {
		switch top, _, _ := strings.Cut(folder(p.ImportPath), "/"); top {
		case "cmd", "guest", "scripts": // programs
			continue
		}
		for _, name := range p.GoFiles {
			for _, use := range usesOf(t, filepath.Join(p.Dir, name), processWide) {
				t.Errorf("%s: a library must not use it", use)
			}
		}
	}
}

// usesOf finds selectors like os.Exit in a file, with their places.
func usesOf(t *testing.T, path string, selectors []string) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Errorf("parsing: %v", err)
		return nil
	}
	var uses []string
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(selectors, x.Name+"."+sel.Sel.Name) {
				uses = append(uses, fset.Position(n.Pos()).String()+": "+x.Name+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return uses
}
