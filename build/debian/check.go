package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Problem is something that a file of a tree needs and that is not there.
type Problem struct {
	Path    string // the file, from the root, without leading slash
	Needs   string // "library libfoo.so.1", "target ../lib/foo", ...
	Package string // the package that has it, "" if unknown
}

func (p Problem) Error() string {
	s := fmt.Sprintf("/%s needs %s, which is not in the image", p.Path, p.Needs)
	if p.Package != "" {
		s += ": add package " + p.Package
	}
	return s
}

// CheckOptions says how to judge a tree.
type CheckOptions struct {
	Arch string // Debian's name: amd64, arm64
	// Owner returns the package that has a shared library, "" if unknown; nil
	// knows none. An Index has LibraryPackage for this.
	Owner func(soname string) string
}

// runtimeDirs are filled when the system runs: a link into them may dangle.
var runtimeDirs = []string{"dev", "proc", "run", "sys", "tmp", "var/run"}

// loose are links that dangle wherever the package is installed without
// development files.
var loose = globs{"usr/lib/modules/*/build", "usr/lib/modules/*/source"}

// firmware is code for other processors, which may be ELF all the same.
const firmware = "usr/lib/firmware/"

// maxHops is how many symbolic links the kernel follows for one path.
const maxHops = 40

// CheckTree looks at every file of a root file system for what is missing to
// run it: the interpreter and the libraries (DT_NEEDED, found by the rules of
// Debian's ld.so without a cache) of every ELF file, the target of every
// symbolic link. fsys must be able to read links (fs.ReadLinkFS). The error is
// for trees that cannot be read.
func CheckTree(fsys fs.FS, opt CheckOptions) ([]Problem, error) {
	triplet, ok := triplets[opt.Arch]
	if !ok {
		return nil, fmt.Errorf("checking tree: architecture %q is not one of %s", opt.Arch, strings.Join(Architectures(), ", "))
	}
	c := &checker{fsys: fsys, opt: opt, triplet: triplet, machines: map[string]bool{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeSymlink:
			return c.checkLink(name)
		case 0:
			return c.checkFile(name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking tree: %w", err)
	}
	slices.SortFunc(c.problems, func(a, b Problem) int {
		return strings.Compare(a.Path+"\x00"+a.Needs, b.Path+"\x00"+b.Needs)
	})
	return c.problems, nil
}

type checker struct {
	fsys     fs.FS
	opt      CheckOptions
	triplet  string
	machines map[string]bool // file -> is an ELF file of the right machine
	problems []Problem
}

func (c *checker) miss(name, needs, soname string) {
	p := Problem{Path: name, Needs: needs}
	if c.opt.Owner != nil && soname != "" {
		p.Package = c.opt.Owner(soname)
	}
	c.problems = append(c.problems, p)
}

func (c *checker) checkLink(name string) error {
	if loose.match(name) {
		return nil
	}
	target, err := fs.ReadLink(c.fsys, name)
	if err != nil {
		return err
	}
	_, err = c.resolve(name)
	switch {
	case err == nil, errors.Is(err, errRuntime):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		c.miss(name, "link target "+target, "")
	case errors.Is(err, errLoop):
		c.miss(name, "link target "+target+" (a loop of links)", "")
	default:
		return err
	}
	return nil
}

var (
	errLoop    = errors.New("too many symbolic links")
	errRuntime = errors.New("exists only while the system runs")
)

// resolve follows all links of a path inside the tree and returns the path of
// the file without any. The kernel's rules: ".." at the root stays there.
func (c *checker) resolve(name string) (string, error) {
	todo := strings.Split(name, "/")
	at, hops := ".", 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := fs.Lstat(c.fsys, next)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && inRuntimeDir(next) {
				err = errRuntime
			}
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			if len(todo) > 0 && !info.IsDir() {
				return "", &fs.PathError{Op: "resolve", Path: name, Err: fs.ErrNotExist}
			}
			at = next
			continue
		}
		if hops++; hops > maxHops {
			return "", errLoop
		}
		target, err := fs.ReadLink(c.fsys, next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "."
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at, nil
}

func inRuntimeDir(name string) bool {
	return slices.ContainsFunc(runtimeDirs, func(dir string) bool {
		return name == dir || strings.HasPrefix(name, dir+"/")
	})
}
