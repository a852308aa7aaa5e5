package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff is what differs between two builds. Everything empty: they are the same.
type Diff struct {
	Schema   int      `json:"schema"`
	A        string   `json:"a"`
	B        string   `json:"b"`
	Same     bool     `json:"same"`
	Kernel   []Change `json:"kernel"`
	Packages []Change `json:"packages"`
	Images   []Change `json:"images"`
	Services []Change `json:"services"`
	Modules  []Change `json:"modules"`
	Firmware []Change `json:"firmware"`
	Files    []Change `json:"files"`
	Config   []Change `json:"config"`  // of the kernel, where both have one
	Symbols  []Change `json:"symbols"` // exported ones, where both list them
	Sizes    []Size   `json:"sizes"`
}

// Change is one thing that was added, removed or changed.
type Change struct {
	What  string `json:"what"`
	Kind  string `json:"kind"` // added, removed or changed
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Bytes int64  `json:"bytes,omitempty"` // that B has more
}

// Size compares a sum.
type Size struct {
	What string `json:"what"`
	A    int64  `json:"a"`
	B    int64  `json:"b"`
}

// Kinds of a Change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Compare says what is different in b. Both reports must come from Inspect
// with Options.Contents and the same Seed.
func Compare(a, b *Report) *Diff {
	d := &Diff{Schema: Schema, A: a.Source, B: b.Source}
	d.Kernel = compareValues(kernelValues(a.Kernel), kernelValues(b.Kernel))
	if a.Kernel != nil && b.Kernel != nil && a.Kernel.digest != b.Kernel.digest && len(d.Kernel) == 0 {
		d.Kernel = append(d.Kernel, Change{What: "content", Kind: Changed, To: sameSize})
	}
	d.Packages = compareValues(packageVersions(a.Packages), packageVersions(b.Packages))
	d.Images = compareValues(imageIDs(a.Images), imageIDs(b.Images))
	d.Services = compareServices(a.Services, b.Services)
	d.Modules = compareSized(moduleItems(a.Modules), moduleItems(b.Modules))
	d.Files = compareSized(fileItems(a.Files), fileItems(b.Files))
	d.Firmware = compareFirmware(a, b)
	d.Config = compareBoth(a.Config, b.Config)
	d.Symbols = compareBoth(symbolValues(a.Symbols), symbolValues(b.Symbols))
	d.Sizes = sizes(a, b)
	d.Same = len(d.Kernel)+len(d.Packages)+len(d.Images)+len(d.Services)+len(d.Modules)+len(d.Firmware)+len(d.Files)+len(d.Config)+len(d.Symbols) == 0 &&
		!slices.ContainsFunc(d.Sizes, func(s Size) bool { return s.A != s.B })
	return d
}

// compareValues compares two maps from a name to what it is.
func compareValues(a, b map[string]string) []Change {
	out := []Change{}
	for _, name := range keys(a, b) {
		from, inA := a[name]
		to, inB := b[name]
		switch {
		case !inA:
			out = append(out, Change{What: name, Kind: Added, To: to})
		case !inB:
			out = append(out, Change{What: name, Kind: Removed, From: from})
		case from != to:
			out = append(out, Change{What: name, Kind: Changed, From: from, To: to})
		}
	}
	return out
}

// compareBoth is nothing unless both are known.
func compareBoth(a, b map[string]string) []Change {
	if a == nil || b == nil {
		return []Change{}
	}
	return compareValues(a, b)
}

// keys is the sorted union of the keys.
func keys[V any](a, b map[string]V) []string {
	all := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}

// item is something with a content.
type item struct {
	words  string // what else may change: mode, owner, target, version magic
	size   int64
	digest uint64
}

const sameSize = "same size, other content"

func compareSized(a, b map[string]item) []Change {
	out := []Change{}
	for _, name := range keys(a, b) {
		from, inA := a[name]
		to, inB := b[name]
		c := Change{What: name, Bytes: to.size - from.size}
		switch {
		case !inA:
			c.Kind, c.To = Added, to.words
		case !inB:
			c.Kind, c.From = Removed, from.words
		case from != to:
			c.Kind = Changed
			if from.words != to.words {
				c.From, c.To = from.words, to.words
			} else if from.size == to.size {
				c.To = sameSize
			}
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}

func kernelValues(k *Kernel) map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"release": k.Release, "version": k.Version, "format": k.Format, "architecture": k.Arch, "suggested command line": k.Cmdline,
		"Secure Boot signature": map[bool]string{true: "yes", false: "no"}[k.Signed], "bytes": fmt.Sprint(k.Size),
	}
}

// packageVersions keys by name and place; several versions of one are joined.
func packageVersions(list []Package) map[string]string {
	out := map[string]string{}
	for _, p := range list {
		key := p.Name
		if p.Arch != "" {
			key += ":" + p.Arch
		}
		if strings.Contains(p.In, "/") {
			key += " in " + p.In
		}
		out[key] = strings.TrimPrefix(out[key]+", "+p.Version, ", ")
	}
	return out
}

// imageIDs keys by name, or by id where there is none.
func imageIDs(list []Image) map[string]string {
	out := map[string]string{}
	for _, img := range list {
		for _, name := range img.Names {
			out[name] = img.ID
		}
		if len(img.Names) == 0 {
			out[img.ID] = "without a name"
		}
	}
	return out
}

func moduleItems(m *Modules) map[string]item {
	out := map[string]item{}
	if m == nil {
		return out
	}
	for _, mod := range m.List {
		release, rest, _ := modulePath(mod.Path)
		out[rest] = item{words: strings.TrimSpace(release + " " + mod.Vermagic), size: mod.Size, digest: mod.digest}
	}
	return out
}

// fileItems leaves modules and firmware to their own lists. Folders have
// neither size nor content.
func fileItems(files []File) map[string]item {
	out := map[string]item{}
	for _, f := range files {
		if _, isFirmware := firmwareName(f.Path); isFirmware || isModule(f.Path) {
			continue
		}
		words := strings.TrimSpace(f.Mode + " " + f.Owner)
		if f.Target != "" {
			words += " -> " + f.Target
		}
		out[withoutRelease(f.Path)] = item{words: words, size: f.Size, digest: f.digest}
	}
	return out
}

// withoutRelease makes paths of two kernels' modules comparable.
func withoutRelease(p string) string {
	if release, _, ok := modulePath(p); ok {
		return strings.Replace(p, "lib/modules/"+release, "lib/modules/RELEASE", 1)
	}
	return p
}

func compareFirmware(a, b *Report) []Change {
	items := func(r *Report) map[string]item {
		out := map[string]item{}
		for _, f := range r.Files {
			if name, ok := firmwareName(f.Path); ok && f.Mode[0] != 'd' {
				out[name] = item{words: strings.TrimSpace(f.Mode + " " + f.Target), size: f.Size, digest: f.digest}
			}
		}
		return out
	}
	return compareSized(items(a), items(b))
}

func symbolValues(s map[string]bool) map[string]string {
	if s == nil {
		return nil
	}
	out := make(map[string]string, len(s))
	for name := range s {
		out[name] = ""
	}
	return out
}

// compareServices says in words what a container may do now that it could not
// before, and the reverse.
func compareServices(a, b []Service) []Change {
	inA, inB := serviceValues(a), serviceValues(b)
	out := []Change{}
	for _, name := range keys(inA, inB) {
		for _, c := range compareValues(inA[name], inB[name]) {
			c.What = name + ": " + c.What
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(x, y Change) int { return cmp.Compare(x.What, y.What) })
	return out
}

func serviceValues(list []Service) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, s := range list {
		v := map[string]string{"command": strings.Join(s.Command, " ")}
		for set, words := range map[string][]string{
			"privileges": s.Privileges, "capabilities": s.Caps, "own namespaces": s.Namespaces, "folders of the host": s.Binds, "devices": s.Devices,
		} {
			if len(words) > 0 {
				v[set] = strings.Join(slices.Sorted(slices.Values(words)), ", ")
			}
		}
		if s.User != "" {
			v["user"] = s.User
		}
		if s.ReadOnly {
			v["root"] = "read-only"
		}
		out[s.Kind+" "+s.Name] = v
	}
	return out
}

// sizes compares the sums.
func sizes(a, b *Report) []Size {
	sums := func(r *Report) [5]int64 {
		var s [5]int64
		if r.Kernel != nil {
			s[0] = r.Kernel.Size
		}
		if i := r.Initramfs; i != nil {
			s[1], s[2], s[3], s[4] = i.Size, i.Unpacked, i.Memory, i.RAMMiB<<20
		}
		return s
	}
	x, y := sums(a), sums(b)
	out := []Size{}
	for i, what := range []string{"kernel", "initramfs", "unpacked", "memory after boot", "RAM of the smallest machine"} {
		out = append(out, Size{what, x[i], y[i]})
	}
	return out
}
