package kernel

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// TestInfoSearchAgainstSectionTable compares the quick look for .modinfo with
// the section table: for every module of Debian's kernels if
// HOOKSMITH_TEST_ALL is set, which takes half a minute, else for every eighth.
func TestInfoSearchAgainstSectionTable(t *testing.T) {
	stride := 8
	switch {
	case os.Getenv("HOOKSMITH_TEST_ALL") != "":
		stride = 1
	case raceEnabled:
		stride = 128
	}
	for _, k := range allReal {
		t.Run(k.name, func(t *testing.T) {
			dir, release := k.modulesDir(t)
			files, err := findModules(dir)
			if err != nil {
				t.Fatal(err)
			}
			var quick, whole infoReader
			n := 0
			for i := 0; i < len(files); i += stride {
				compareInfo(t, &quick, &whole, dir, files[i], release, k.arch)
				n++
			}
			t.Logf("%d modules, %d of them decompressed completely", n, quick.complete)
			if n >= 100 && quick.complete > n/10 { // a rate: it means nothing of nine modules
				t.Error("the search falls back to the section table too often")
			}
		})
	}
}

func compareInfo(t *testing.T, quick, whole *infoReader, dir fs.FS, file, release string, arch Arch) {
	t.Helper()
	a, err := readInfo(quick, dir, file, release, arch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := readInfo(whole, dir, file, "\x00", arch) // a release that is nowhere: no run is plausible
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.Trim(a, "\x00"), bytes.Trim(b, "\x00")) {
		t.Errorf("%s: the search found\n%q, the section is\n%q", file, a, b)
	}
}

// TestReadIndexReal reads the modules of a real kernel, in parallel.
func TestReadIndexReal(t *testing.T) {
	dir, release := cloudAMD64.modulesDir(t)
	x, err := ReadIndex(context.Background(), dir, release, X86_64)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Modules) < 1000 || len(x.Order) != len(x.Modules) || len(x.Builtin) < 50 {
		t.Errorf("%d modules, %d in order, %d built in", len(x.Modules), len(x.Order), len(x.Builtin))
	}
	n := newNames(x)
	net := n.modules["virtio_net"]
	if net == nil || !slices.Equal(net.Depends, []string{"net_failover"}) || !slices.Equal(net.Aliases, []string{"virtio:d00000001v*"}) ||
		net.License != "GPL" || !slices.Contains(net.Params, "napi_tx") {
		t.Errorf("virtio_net: %+v", net)
	}
	i := slices.IndexFunc(x.Builtin, func(b Builtin) bool { return b.Name == "ext4" })
	if i < 0 || !slices.Contains(x.Builtin[i].Aliases, "fs-ext4") {
		t.Errorf("ext4 is built in, and its aliases are known: %d", i)
	}
}

func readInfo(u *infoReader, dir fs.FS, file, release string, arch Arch) ([]byte, error) {
	f, err := dir.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return u.read(file, f, release, arch.machine())
}

func BenchmarkReadIndex(b *testing.B) {
	for _, k := range allReal {
		b.Run(k.name, func(b *testing.B) {
			dir, release := k.modulesDir(b)
			for b.Loop() {
				x, err := ReadIndex(context.Background(), dir, release, k.arch)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(len(x.Modules)), "modules")
			}
		})
	}
}
