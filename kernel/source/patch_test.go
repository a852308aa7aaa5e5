package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hooksmith/kernel/source"
)

const goodPatch = `From 0123 Mon Sep 17 00:00:00 2001
From: Somebody <s@example.org>
Subject: [PATCH] x86: a longer command line

@@ this is text @@
---
 arch/x86/include/asm/setup.h | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/arch/x86/include/asm/setup.h b/arch/x86/include/asm/setup.h
index 0667b2a..e8d3b3c 100644
--- a/arch/x86/include/asm/setup.h
+++ b/arch/x86/include/asm/setup.h
@@ -7,3 +7,3 @@
 #include <asm/page_types.h>
-#define COMMAND_LINE_SIZE 2048
+#define COMMAND_LINE_SIZE 4096

diff --git a/new.txt b/new.txt
new file mode 100644
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+new
\ No newline at end of file
-- 
2.47.3
`

func TestPatch(t *testing.T) {
	p, err := source.ParsePatch("0001.patch", []byte(goodPatch))
	must(t, err)
	if want := []string{"arch/x86/include/asm/setup.h", "new.txt"}; !slices.Equal(p.Files, want) || p.Name != "0001.patch" || p.Hash() != sha([]byte(goodPatch)) {
		t.Errorf("%+v", p.Files)
	}
	for name, text := range map[string]string{
		"diff -u":     "--- a/x\t2026-01-01 00:00:00\n+++ b/x\t2026-01-02 00:00:00\n@@ -1 +1 @@\n-a\n+b\n",
		"rename only": "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n",
		"mode only":   "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n",
		"dos":         "--- a/x\r\n+++ b/x\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n",
	} {
		if _, err := source.ParsePatch(name, []byte(text)); err != nil {
			t.Error(err)
		}
	}
}

func TestPatchRefuses(t *testing.T) {
	file := func(name string) string { return "--- a/x\n+++ " + name + "\n@@ -1 +1 @@\n-a\n+b\n" }
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "changes nothing"},
		{"text", "hello\nworld\n", "changes nothing"},
		{"page", " <!DOCTYPE html><html>", "web page"},
		{"leaves", file("b/../../etc/passwd"), "leaves the source"},
		{"leaves by the first folder", file("../etc/passwd"), "leaves the source"},
		{"git's own", file("b/.git/hooks/x"), "leaves the source"},
		{"absolute", file("/etc/passwd"), "one folder before"},
		{"absolute below", file("b//etc/passwd"), "one folder before"},
		{"no folder", file("x"), "one folder before"},
		{"quoted", file(`"b/\056\056/x"`), "leaves the source"},
		{"badly quoted", file(`"b/x`), "cannot be read"},
		{"rename out", "diff --git a/x b/x\nrename from x\nrename to ../x\n", "leaves the source"},
		{"cut", "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n", "cut"},
		{"names only", "--- a/x\n+++ b/x\n", "cut"},
		{"no hunk", "--- a/x\n+++ b/x\nhello\n", "want a hunk"},
		{"no names", "diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b\n", "without the names"},
		{"wrong counts", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n+c\n", "other lines"},
		{"rubbish in the hunk", "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\nrubbish\n", "want a line of the hunk"},
		{"bad hunk", "--- a/x\n+++ b/x\n@@ -1 +1,x @@\n", "want @@"},
		{"empty hunk", "--- a/x\n+++ b/x\n@@ -0,0 +0,0 @@\n", "no lines"},
		{"binary", "diff --git a/x b/x\nGIT binary patch\nliteral 1\n", "binary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := source.ParsePatch("p.patch", []byte(tt.text))
			wantError(t, err, tt.want, "p.patch")
		})
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(goodPatch))
	f.Add([]byte("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := source.ParsePatch("x", data)
		if err != nil {
			return
		}
		for _, name := range p.Files {
			if !filepath.IsLocal(name) {
				t.Errorf("file %q", name)
			}
		}
	})
}

func TestExternal(t *testing.T) {
	ice := []member{
		{name: "ice-2.4.5/"}, {name: "ice-2.4.5/README", body: "x"}, {name: "ice-2.4.5/src/"},
		{name: "ice-2.4.5/src/Makefile", body: "x"}, {name: "ice-2.4.5/src/ice.c", body: "x"},
	}
	e, err := source.OpenExternal(t.Context(), write(t, "ice-2.4.5.tar.gz", gz(t, makeTar(t, ice))))
	must(t, err)
	got, err := read(t, e.Tar)
	if err != nil || e.Name != "ice" || e.Version != "2.4.5" || e.Dir != "src" || len(e.Hash()) != 64 || len(got) != 5 || got[0] != "ice/ 755 " || got[3] != "ice/src/Makefile 644 x" {
		t.Errorf("%+v: %q, %v", e, got, err)
	}
	dir := filepath.Join(t.TempDir(), "r8125")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "Kbuild"), []byte("obj-m += r8125.o\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "dkms.conf"), []byte("PACKAGE_NAME=\"r8125-dkms\"\nPACKAGE_VERSION='9.011'\nMAKE[0]=x\n"), 0o644))
	e, err = source.OpenExternal(t.Context(), dir)
	must(t, err)
	if got, err := read(t, e.Tar); err != nil || e.Name != "r8125-dkms" || e.Version != "9.011" || e.Dir != "." || len(got) != 3 {
		t.Errorf("%+v: %q, %v", e, got, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "Kbuild"), []byte("x"), 0o644))
	_, err = read(t, e.Tar)
	wantError(t, err, "changed meanwhile")
}

func TestExternalRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		members []member
		want    string
	}{
		{"x.tar", []member{{name: "x/"}, {name: "x/ice.c"}}, "neither Makefile nor Kbuild"},
		{"x.tar", []member{{name: "x/Makefile"}, {name: "x/Kbuild"}, {name: "x/Kconfig"}}, "whole kernel"},
		{"x.tar", []member{{name: "x/Makefile"}, {name: "x/../../y"}}, "leaves the archive"},
		{"a b.tar", []member{{name: "x/Makefile"}}, "rename it"},
	} {
		_, err := source.OpenExternal(t.Context(), write(t, tt.name, makeTar(t, tt.members)))
		wantError(t, err, tt.want, tt.name)
	}
	_, err := source.OpenExternal(t.Context(), write(t, "x.tar", []byte(strings.Repeat("x", 1000))))
	wantError(t, err, "not a tar")
}
