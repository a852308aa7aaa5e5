package cmdline

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, line string
		want       []param
	}{
		{"empty", "", nil},
		{"only spaces", " \t\n", nil},
		{"plain", "quiet console=ttyS0,115200\n", []param{{"quiet", ""}, {"console", "ttyS0,115200"}}},
		{"many spaces", "  a=1   b=2 ", []param{{"a", "1"}, {"b", "2"}}},
		{"only the first = separates", "HTTP_PROXY=http://p/?a=b", []param{{"HTTP_PROXY", "http://p/?a=b"}}},
		{"empty value", "worker_id= x", []param{{"worker_id", ""}, {"x", ""}}},
		{"value in quotes", `a="b c" d`, []param{{"a", "b c"}, {"d", ""}}},
		{"parameter in quotes", `"a=b c" d`, []param{{"a", "b c"}, {"d", ""}}},
		{"flag in quotes", `"a b"`, []param{{"a b", ""}}},
		{"empty quotes", `a="" b=1`, []param{{"a", ""}, {"b", "1"}}},
		{"quotes inside a word stay", `a=b" "c d=1`, []param{{"a", `b" "c`}, {"d", "1"}}},
		{"unclosed quote", `a="b c d=1`, []param{{"a", "b c d=1"}}},
		{"lone quote", `"`, []param{{"", ""}}},
		{"= in front belongs to the name", "=a=b =c", []param{{"=a", "b"}, {"=c", ""}}},
		{"after the kernel's separator", "a=1 -- b=2", []param{{"a", "1"}, {"--", ""}, {"b", "2"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Parse(test.line).params; !reflect.DeepEqual(got, test.want) {
				t.Errorf("Parse(%q) = %q, want %q", test.line, got, test.want)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	p := Parse("console=tty0 worker_id=one console=ttyS0 worker_id=two flag")
	if got, ok := p.Get("worker_id"); got != "two" || !ok {
		t.Errorf("Get(worker_id) = %q, %v, want the last one", got, ok)
	}
	if got, ok := p.Get("flag"); got != "" || !ok {
		t.Errorf("Get(flag) = %q, %v, want an empty value that is there", got, ok)
	}
	if _, ok := p.Get("absent"); ok || p.Has("absent") || p.All("absent") != nil {
		t.Error("an absent parameter is there")
	}
	if got, want := p.All("console"), []string{"tty0", "ttyS0"}; !reflect.DeepEqual(got, want) {
		t.Errorf("All(console) = %q, want %q", got, want)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(path, []byte("a=1 b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil || !p.Has("b") {
		t.Errorf("Load = %+v, %v", p, err)
	}
	if _, err := Load(path + ".absent"); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("Load of an absent file: %v, want an error that names it", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`a="b c" "d=e f" g`, `"`, `"=`, `="`, `""="`, "a=\x00 \xff", `"a="b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		p := Parse(line)
		total := 0
		for _, each := range p.params {
			total += len(each.key) + len(each.value)
			if got, ok := p.Get(each.key); !ok {
				t.Errorf("Get(%q) of %q = %q, not there", each.key, line, got)
			}
		}
		if total > len(line) {
			t.Errorf("Parse(%q) holds %d bytes out of %d", line, total, len(line))
		}
	})
}
