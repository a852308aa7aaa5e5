package embed

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// brief is a set in lines of NAMES <- REFERENCE.
func brief(set []Want) []string {
	var out []string
	for _, w := range set {
		out = append(out, strings.Join(w.Names, " ")+" <- "+w.Ref())
	}
	return out
}

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func TestBundle(t *testing.T) {
	const repo = "registry.example/eks/tinkerbell/"
	for _, tt := range []struct {
		file, kubernetes string
		want             []string
		err              string
	}{
		{"bundle-current.yaml", "1.31", []string{
			"127.0.0.1/embedded/cexec:latest <- " + repo + "actions/cexec@" + digest("1"),
			"127.0.0.1/embedded/image2disk:latest <- " + repo + "actions/image2disk:a1",
			"127.0.0.1/embedded/writefile:latest <- " + repo + "actions/writefile@" + digest("2"),
		}, ""},
		{"bundle-current.yaml", "v1.9.4", []string{
			"127.0.0.1/embedded/cexec:latest <- " + repo + "actions/cexec@" + digest("9"),
			"127.0.0.1/embedded/writefile:latest <- " + repo + "actions/writefile@" + digest("2"),
		}, ""},
		{"bundle-current.yaml", "", []string{
			"127.0.0.1/embedded/cexec:latest <- " + repo + "actions/cexec@" + digest("1"),
			"127.0.0.1/embedded/cexec:old <- " + repo + "actions/cexec@" + digest("9"),
			"127.0.0.1/embedded/image2disk:latest <- " + repo + "actions/image2disk:a1",
			"127.0.0.1/embedded/writefile:latest <- " + repo + "actions/writefile@" + digest("2"),
		}, ""},
		{"bundle-current.yaml", "1.30", nil, "is for Kubernetes 1.9, 1.31, not 1.30"},
		{"bundle-older.yaml", "", []string{
			"127.0.0.1/embedded/cexec:latest <- " + repo + "hub/cexec@" + digest("1"),
			"127.0.0.1/embedded/image2disk:latest <- " + repo + "hub/image2disk@" + digest("3"),
			"127.0.0.1/embedded/tink-worker:latest <- " + repo + "tink/tink-worker@" + digest("4"),
		}, ""},
	} {
		t.Run(tt.file+" "+tt.kubernetes, func(t *testing.T) {
			b, err := ParseBundle(tt.file, must(os.ReadFile("testdata/"+tt.file)))
			if err != nil {
				t.Fatal(err)
			}
			list, err := b.Wants(tt.kubernetes)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			set, _, err := Merge(list)
			if got := brief(set); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("error %v, got\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if HasWorker(set) != strings.Contains(fmt.Sprint(tt.want), "tink-worker") {
				t.Error("HasWorker is wrong")
			}
		})
	}
}

// TestBundleVersions: a version without quotes is what is written, and one
// without images is refused with those that have some.
func TestBundleVersions(t *testing.T) {
	b, err := ParseBundle("b", []byte("kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: 1.30 # a number\n    tinkerbell:\n"+
		"      a: {uri: r.example/tinkerbell/actions/x:1, arch: [arm64]}\n  - kubeVersion: '1.31'\n    tinkerbell: {}\n  - tinkerbell: {}\n  - kubeVersion: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := b.Wants("1.30"); err != nil || len(list) != 1 {
		t.Errorf("1.30: %v, %v", list, err)
	}
	for version, want := range map[string]string{
		"1.31": "no actions of Tinkerbell for Kubernetes 1.31, only for 1.30",
		"2":    "for Kubernetes 2, only for 1.30",
		"1.3":  "is for Kubernetes 1.30, 1.31, (unnamed), 2, not 1.3",
	} {
		if _, err := b.Wants(version); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", version, err, want)
		}
	}
}

func TestBadBundles(t *testing.T) {
	header := "kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: \"1.30\"\n    tinkerbell:\n"
	for _, tt := range []struct{ name, text, want string }{
		{"HTML", "\n<!DOCTYPE html><html><body>Sign in</body></html>", "HTML page"},
		{"empty", " \n", "empty"},
		{"list of releases", "kind: Release\nspec:\n  releases:\n  - bundleManifestUrl: https://x\n", "bundleManifestUrl"},
		{"other kind", "kind: Pod\n", `kind is "Pod"`},
		{"no YAML", "a: b: c: [", "bundle x.yaml"},
		{"another provider", "kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: \"1.30\"\n    docker: {}\n", "no actions of Tinkerbell"},
		{"bad digest", header + "      a: {uri: r.example/tinkerbell/actions/x:1, imageDigest: sha256:12}\n", "imageDigest"},
		{"digest that is no text", header + "      a: {uri: r.example/tinkerbell/actions/x:1, imageDigest: 5}\n", "imageDigest is 5"},
		{"version that is no text", "kind: Bundles\nspec:\n  versionsBundles:\n  - kubeVersion: [1]\n", "kubeVersion"},
		{"gzip", "\x1f\x8b\x08\x00", "gunzip"},
		{"another file", "%PDF\x00", "it is no text"},
		{"bad reference", header + "      a: {uri: 'r.example/tinkerbell/actions/X Y'}\n", "r.example/tinkerbell/actions/X Y"},
		{"two of one name", header + "      a: {uri: r.example/tinkerbell/actions/x:1}\n      b: {uri: r.example/tinkerbell/hub/x:2}\n", "two images named x"},
		{"aliases", "a: &a [1]\nb: *a\n", "aliases"},
		{"deep", "kind: " + strings.Repeat("[", 100), "deep"},
		{"large", strings.Repeat("#", 5<<20), "at most"},
	} {
		_, err := ParseBundle("x.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: error %v, want %q and the file", tt.name, err, tt.want)
		}
	}
}

func TestImagesFile(t *testing.T) {
	list, err := ParseImagesFile("images.txt", []byte("\ufeff# comment\r\n"+
		"quay.io/tinkerbell/tink-worker:v0.10.0\r\n\n"+
		"quay.io/t/image2disk embedded/actions/image2disk\t# and a name\n"+
		"  quay.io/t/cexec:v1   127.0.0.1/embedded/cexec true\n"+
		"alpine@"+digest("a")+"\n"+
		"busybox:1 127.0.0.1/embedded/tink-worker:latest false"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"quay.io/tinkerbell/tink-worker:v0.10.0 <- quay.io/tinkerbell/tink-worker:v0.10.0",
		"quay.io/t/image2disk:latest embedded/actions/image2disk:latest <- quay.io/t/image2disk",
		"127.0.0.1/embedded/cexec:latest <- quay.io/t/cexec:v1",
		" <- docker.io/library/alpine@" + digest("a"),
		"busybox:1 127.0.0.1/embedded/tink-worker:latest <- busybox:1",
	}
	if got := brief(list); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if list[2].Origin != "images.txt:5" {
		t.Errorf("origin %q", list[2].Origin)
	}
	for text, want := range map[string]string{
		"\n\nUPPER/Case\n":          "images.txt:3: image \"UPPER/Case\"",
		"a b true x":                "images.txt:1: 4 words",
		"a true":                    `images.txt:1: "true" is where the new name belongs`,
		"a b@" + digest("a"):        "images.txt:1: name \"b@sha256",
		"a b yes":                   `images.txt:1: "yes"`,
		"# nothing":                 "no image in it",
		"<html>":                    "HTML",
		"a B":                       "images.txt:1: name \"B\"",
		strings.Repeat("a\n", 2000): "more than 1000 images",
	} {
		if _, err := ParseImagesFile("images.txt", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %q", text, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"alpine":                         "alpine:latest <- alpine",
		"ghcr.io/x/y:1":                  "ghcr.io/x/y:1 <- ghcr.io/x/y:1",
		"ghcr.io/x/y:1=cexec":            "127.0.0.1/embedded/cexec:latest <- ghcr.io/x/y:1",
		"ghcr.io/x/y=cexec:v2":           "127.0.0.1/embedded/cexec:v2 <- ghcr.io/x/y",
		"y=docker.io/library/z":          "z:latest <- y",
		"r:5000/y:1@" + digest("b"):      "r:5000/y:1 <- r:5000/y@" + digest("b"),
		"r:5000/y@" + digest("b") + "=z": "127.0.0.1/embedded/z:latest <- r:5000/y@" + digest("b"),
	} {
		w, err := Parse(text)
		if got := brief([]Want{w})[0]; err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "is a shell variable unset", "=x": "no image before the =", "x=": "no name after the =",
		"a b": "a b", "x=A": "embedded/A", "x=y@" + digest("a") + "z": "y@sha256", "x=y@" + digest("a"): "a name has no digest",
	} {
		if w, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, error %v, want %q", text, w, err, want)
		}
	}
}

func TestMerge(t *testing.T) {
	b := must(ParseBundle("b", must(os.ReadFile("testdata/bundle-older.yaml"))))
	agent := must(Agent("ghcr.io/tinkerbell/tink-agent:v1"))
	set, dropped, err := Merge(must(b.Wants("")), []Want{agent, must(Parse("alpine:3")), must(Parse("alpine:3=cexec:x"))})
	if err != nil {
		t.Fatal(err)
	}
	got := brief(set)
	if len(set) != 4 || !slices.Contains(got, "127.0.0.1/embedded/tink-worker:latest <- ghcr.io/tinkerbell/tink-agent:v1") ||
		!slices.Contains(got, "127.0.0.1/embedded/cexec:x alpine:3 <- alpine:3") {
		t.Errorf("set %q", got)
	}
	if got := brief(dropped); len(got) != 1 || !strings.Contains(got[0], "tink/tink-worker@") {
		t.Errorf("dropped %q", got)
	}
	_, _, err = Merge([]Want{agent, must(Parse("x=tink-worker"))})
	if err == nil || !strings.Contains(err.Error(), "--agent ghcr.io/tinkerbell/tink-agent:v1") || !strings.Contains(err.Error(), "--embed x=tink-worker") {
		t.Errorf("two workers: %v", err)
	}
}

// TestMergeSpellings: one image is one, however it is written, and lists yield
// to what is asked for expressly.
func TestMergeSpellings(t *testing.T) {
	a, b := "@"+digest("a"), "@"+digest("b")
	bundled := Want{Source: "r.example/c:1", Digest: digest("a"), Names: []string{"127.0.0.1/embedded/c:latest"}, FromList: true}
	exported := Want{ // of the index a
		Source: "r.example/c:1", Digest: digest("b"), Known: []string{digest("a"), digest("b")}, FromList: true, Export: "set.tar",
		Names: []string{"127.0.0.1/embedded/tink-worker:latest", "r.example/c:1"},
	}
	for _, tt := range []struct {
		name string
		set  []Want
		want string
	}{
		{"short and complete", []Want{must(Parse("alpine")), must(Parse("docker.io/library/alpine:latest"))}, "alpine:latest <- alpine"},
		{"tag, and tag with digest", []Want{must(Parse("r.example/c:1")), must(Parse("r.example/c:1" + a))}, "r.example/c:1 <- r.example/c" + a},
		{"the other way round", []Want{must(Parse("r.example/c:1" + a)), must(Parse("r.example/c:1=d"))}, "127.0.0.1/embedded/d:latest r.example/c:1 <- r.example/c" + a},
		{"of another place", []Want{must(Parse("r.example/c" + a + "=x")), must(Parse("s.example/c" + a + "=x"))}, "127.0.0.1/embedded/x:latest <- r.example/c" + a},
		{"in an export", []Want{exported, must(Parse("r.example/c:1"))}, strings.Join(exported.Names, " ") + " <- r.example/c" + b},
		{"in an export, by the index", []Want{exported, must(Parse("r.example/c" + a + "=y"))}, "127.0.0.1/embedded/tink-worker:latest 127.0.0.1/embedded/y:latest r.example/c:1 <- r.example/c" + b},
		{"in an export and a bundle", []Want{exported, bundled}, "127.0.0.1/embedded/c:latest 127.0.0.1/embedded/tink-worker:latest r.example/c:1 <- r.example/c" + b},
		{"another worker than the export's", []Want{{Source: "r.example/w:1", Digest: digest("c"), Names: []string{WorkerName}, FromList: true}, must(Agent("n.example/w:2"))}, WorkerName + " <- n.example/w:2"},
	} {
		set, _, err := Merge(tt.set)
		if got := strings.Join(brief(set), "; "); err != nil || got != tt.want {
			t.Errorf("%s: error %v, got %s, want %s", tt.name, err, got, tt.want)
		} else if slices.ContainsFunc(tt.set, func(w Want) bool { return w.Export != "" }) != (set[0].Export != "") {
			t.Errorf("%s: from %q", tt.name, set[0].Export)
		}
	}
	_, _, err := Merge([]Want{must(Parse("r.example/c:1" + a)), must(Parse("r.example/c:1" + b))})
	if err == nil || !strings.Contains(err.Error(), "r.example/c"+a+" and r.example/c"+b) {
		t.Errorf("one tag with two digests: %v", err)
	}
}
