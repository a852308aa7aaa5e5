package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"hooksmith/build/docker"
)

// maxContextFiles bounds a build context; more is a home directory by mistake.
const maxContextFiles = 100_000

// Folder is a folder of a user with a Dockerfile, and the image that it makes.
type Folder struct {
	Name     string // of the folder
	Dir      string // its path
	Ref      string // complete, with a tag made of the folder's content: BASE/NAME:SHA8-ARCH
	platform v1.Platform
	local    bool  // Ref names no registry
	err      error // why its content cannot be read
}

// ReadFolders finds the folders below root that have a Dockerfile, and names
// the image of each as upstream does: base, the folder's name, a tag of eight
// digits of its content's hash and the architecture. What .dockerignore
// excludes does not count; modes, symbolic links and folders do. base may be
// empty, or end in - or /. It is an error if there is no such folder. One that
// cannot be read is an error only for those who ask for its image.
func ReadFolders(ctx context.Context, root, base string, platform v1.Platform) ([]Folder, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []Folder
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if st, err := os.Stat(filepath.Join(dir, "Dockerfile")); err != nil || !st.Mode().IsRegular() {
			continue
		}
		f, err := readFolder(ctx, dir, e.Name(), base, platform)
		if err != nil {
			return nil, fmt.Errorf("image folder %s: %w", dir, err)
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no folder with a Dockerfile: an image is DIR/NAME/Dockerfile", root)
	}
	return out, nil
}

func readFolder(ctx context.Context, dir, name, base string, platform v1.Platform) (Folder, error) {
	if platform.Architecture == "" {
		platform = hostPlatform()
	}
	tag, broken := contentTag(ctx, dir, name)
	if ctx.Err() != nil {
		return Folder{}, ctx.Err()
	}
	ref, err := parseReference(fmt.Sprintf("%s%s:%s-%s", base, name, tag, platform.Architecture))
	if err != nil {
		return Folder{}, fmt.Errorf("it cannot be the name of an image: %w", err)
	}
	host, _, hasHost := strings.Cut(base, "/")
	local := !hasHost || !strings.ContainsAny(host, ".:") && host != "localhost"
	return Folder{Name: name, Dir: dir, Ref: ref.String(), platform: platform, local: local, err: broken}, nil
}

// contentTag is the tag of what a folder holds, without the architecture.
func contentTag(ctx context.Context, dir, name string) (string, error) {
	files, err := contextFiles(ctx, dir)
	if err != nil {
		return "unreadable", err
	}
	sum, err := hashContext(ctx, files, name)
	if err != nil {
		return "unreadable", err
	}
	return sum[:8], nil
}

// contextFile is a file of a build context.
type contextFile struct {
	path string // on disk
	name string // in the context, with slashes
	info fs.FileInfo
	link string // target of a symbolic link
}

// contextFiles lists what docker would send to the daemon: all that
// .dockerignore does not exclude, sorted, and always the Dockerfile and
// .dockerignore, which the daemon reads itself.
func contextFiles(ctx context.Context, dir string) ([]contextFile, error) {
	ignore, err := readIgnore(dir)
	if err != nil {
		return nil, err
	}
	w := &contextWalk{dir: dir, ignore: ignore}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.visit(path, e)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(w.files, func(a, b contextFile) int { return strings.Compare(a.name, b.name) })
	return w.files, nil
}

// readIgnore reads Dockerfile.dockerignore or .dockerignore, in that order as
// BuildKit does.
func readIgnore(dir string) (*patternmatcher.PatternMatcher, error) {
	var patterns []string
	for _, name := range []string{"Dockerfile.dockerignore", ".dockerignore"} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err = ignorefile.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		break
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf(".dockerignore: %w", err)
	}
	return m, nil
}

type contextWalk struct {
	dir     string
	ignore  *patternmatcher.PatternMatcher
	files   []contextFile
	skipped []contextFile // excluded folders, which may hold files that are not
}

func (w *contextWalk) visit(path string, e fs.DirEntry) error {
	rel, err := filepath.Rel(w.dir, path)
	if err != nil {
		return err
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	f := contextFile{path: path, name: filepath.ToSlash(rel), info: info}
	excluded, err := w.ignore.MatchesOrParentMatches(f.name)
	if err != nil {
		return err
	}
	if excluded && f.name != "Dockerfile" && f.name != ".dockerignore" {
		return w.skip(f)
	}
	switch mode := info.Mode(); {
	case mode.IsRegular(), mode.IsDir():
	case mode&fs.ModeSymlink != 0:
		if f.link, err = os.Readlink(path); err != nil {
			return err
		}
	case mode&fs.ModeSocket != 0:
		return nil // docker leaves them out as well
	default:
		return fmt.Errorf("%s is neither file, folder nor symbolic link: exclude it in .dockerignore", rel)
	}
	w.addParents(f.name)
	if len(w.files) >= maxContextFiles {
		return fmt.Errorf("more than %d files: exclude what does not belong to the image in .dockerignore", maxContextFiles)
	}
	w.files = append(w.files, f)
	return nil
}

// skip leaves a file out. A folder is walked only if an exception (!pattern)
// may bring back something in it.
func (w *contextWalk) skip(f contextFile) error {
	if !f.info.IsDir() {
		return nil
	}
	if !w.ignore.Exclusions() {
		return filepath.SkipDir
	}
	w.skipped = append(w.skipped, f)
	return nil
}

// addParents adds the excluded folders that hold a file which is not.
func (w *contextWalk) addParents(name string) {
	w.skipped = slices.DeleteFunc(w.skipped, func(d contextFile) bool {
		inside := strings.HasPrefix(name, d.name+"/")
		if inside {
			w.files = append(w.files, d)
		}
		return inside
	})
}

// hashContext is upstream's hash with its holes closed. There it is the SHA-256
// over lines "<sha256>  images/<folder>/<path>", of regular files alone; here
// each line begins with the mode, and folders and links have lines too.
func hashContext(ctx context.Context, files []contextFile, folder string) (string, error) {
	h := sha256.New()
	for _, f := range files {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		sum := sha256.Sum256([]byte(f.link))
		if f.info.Mode().IsRegular() {
			var err error
			if sum, err = hashFile(f.path); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(h, "%s %s  images/%s/%s\n", modeText(f.info.Mode()), hex.EncodeToString(sum[:]), folder, f.name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// modeText is like ls -l; a link's own permissions mean nothing.
func modeText(m fs.FileMode) string {
	if m&fs.ModeSymlink != 0 {
		return "l"
	}
	return fmt.Sprintf("%s%04o", map[bool]string{true: "d", false: "-"}[m.IsDir()], tarMode(m))
}

// tarMode is the permission bits as tar and stat write them.
func tarMode(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

func hashFile(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// writeContext writes the build context as docker does: owner root, and times
// as they are, since the daemon's build cache does not look at them.
func writeContext(ctx context.Context, w io.Writer, files []contextFile) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := writeContextFile(tw, f); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	return tw.Close()
}

func writeContextFile(tw *tar.Writer, f contextFile) error {
	h := &tar.Header{Format: tar.FormatPAX, Name: f.name, Mode: tarMode(f.info.Mode()), ModTime: f.info.ModTime().Truncate(1e9)}
	switch {
	case f.info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.name+"/"
	case f.info.Mode().IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, f.info.Size()
	default:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
	}
	if err := tw.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	r, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(tw, r)
	return err
}

var fromLine = regexp.MustCompile(`(?im)^\s*FROM\s+(?:--\S+\s+)*(\S+)`)

// baseImages names the images that a Dockerfile begins with, for errors.
func baseImages(dir string) string {
	raw, err := docker.ReadLimited(filepath.Join(dir, "Dockerfile"), 1<<20)
	if err != nil {
		return ""
	}
	var names []string
	for _, m := range fromLine.FindAllSubmatch(raw, 20) {
		names = append(names, string(m[1]))
	}
	return strings.Join(names, ", ")
}
