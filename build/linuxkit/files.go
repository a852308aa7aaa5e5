package linuxkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// DirSource returns an Options.Open that reads `source` files of this
// machine: relative names from dir ("" is the working directory), ~/ from home.
// It opens nothing but regular files: a pipe or a device may never end.
func DirSource(dir, home string) func(source string) (fs.File, error) {
	return func(source string) (fs.File, error) {
		name := source
		rest, inHome := strings.CutPrefix(source, "~/")
		switch {
		case inHome && home == "":
			return nil, fmt.Errorf("%s: there is no home directory: %w", source, fs.ErrNotExist)
		case inHome:
			name = filepath.Join(home, rest)
		case !filepath.IsAbs(source):
			name = filepath.Join(dir, source)
		}
		if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", source)
		}
		return os.Open(name)
	}
}

// clean returns the path inside the tree.
func (f *File) clean() string {
	return strings.TrimPrefix(filepath.ToSlash(filepath.Clean("/"+f.Path.Value)), "/")
}

// mode returns the permission bits.
func (f *File) mode() int64 {
	if mode, err := strconv.ParseUint(f.Mode.Value, 8, 32); err == nil {
		return int64(mode)
	}
	if f.Directory.Value {
		return 0o700
	}
	return 0o600
}

// parentMode is the file's mode with permission to enter for all who have
// any permission (linuxkit.md 1.9).
func (f *File) parentMode() int64 {
	mode := f.mode()
	for _, shift := range []int{0, 3, 6} {
		if mode>>shift&7 != 0 {
			mode |= 1 << shift
		}
	}
	return mode
}

// A Parent is a folder that a file needs and the configuration does not list.
type Parent struct {
	Path     string
	Mode     int64 // what it gets where no image has it
	UID, GID int
	File     *File // the first one that needs it
}

// Parents returns the folders that the files of the configuration imply, each
// once, above before below.
func (c *Config) Parents() []Parent { return c.parentsOf(c.Files) }

func (c *Config) parentsOf(files []*File) []Parent {
	var all []Parent
	names := c.names()
	seen := map[string]bool{}
	for _, f := range files {
		path := f.clean()
		uid, gid := f.owner(names)
		for i, r := range path {
			if r == '/' && !seen[path[:i]] {
				seen[path[:i]] = true
				all = append(all, Parent{path[:i], f.parentMode(), uid, gid, f})
			}
		}
		if f.Directory.Value {
			seen[path] = true
		}
	}
	return all
}

// FileLocations returns, for the path of each of the files and of the folders
// that are made for them, the item as LinuxKit names it: "files[2]".
func (c *Config) FileLocations() map[string]string {
	of := map[string]string{}
	for _, p := range c.Parents() {
		of[p.Path] = fmt.Sprintf("files[%d]", p.File.Index)
	}
	for _, f := range c.Files {
		of[f.clean()] = fmt.Sprintf("files[%d]", f.Index)
	}
	return of
}

// owner returns the numbers of the file's owner, whose names Parse has checked.
func (f *File) owner(names names) (uid, gid int) {
	u, _ := names.id(f.UID.Value)
	g, _ := names.id(f.GID.Value)
	return int(u), int(g)
}

// files returns the layer of the files and that of their parents; either is
// nil if there are none. With Options.Compat the parents stand among the
// files, each before the first that needs it, and so replace what the images
// have.
func (r *Resolved) files() (files, parents v1.Layer, err error) {
	present, made, err := r.fileEntries()
	if err != nil {
		return nil, nil, err
	}
	var entries, folders []Entry
	needed := r.Config.parentsOf(present)
	for i, f := range present {
		for ; len(needed) > 0 && needed[0].File == f; needed = needed[1:] {
			p := needed[0]
			folder := Entry{Name: p.Path + "/", Mode: p.Mode, UID: p.UID, GID: p.GID}
			if r.opts.Compat {
				entries = append(entries, folder)
			} else {
				folders = append(folders, folder)
			}
		}
		entries = append(entries, made[i])
	}
	if files, err = layerOrNil(r.opts, entries); err != nil {
		return nil, nil, err
	}
	parents, err = layerOrNil(r.opts, folders)
	return files, parents, err
}

// fileEntries returns the files that are there and their entries. The error
// joins those of all files.
func (r *Resolved) fileEntries() (present []*File, made []Entry, err error) {
	var problems problems
	names := r.Config.names()
	for _, f := range r.Config.Files {
		entry, err := r.fileEntry(f)
		if errors.Is(err, errSkip) {
			continue
		}
		if err != nil {
			problems.add(&Error{Pos: f.Pos, Where: f.String(), Message: err.Error(), Err: err})
			continue
		}
		entry.UID, entry.GID = f.owner(names)
		present, made = append(present, f), append(made, entry)
	}
	return present, made, errors.Join(problems.errs...)
}

func layerOrNil(opts Options, entries []Entry) (v1.Layer, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	return NewLayer(opts.modTime(), entries...)
}

// errSkip means that an optional file is not there.
var errSkip = errors.New("optional and not there")

func (r *Resolved) fileEntry(f *File) (Entry, error) {
	e := Entry{Name: f.clean(), Mode: f.mode()}
	switch {
	case f.Directory.Value:
		e.Name += "/"
	case f.Symlink.Value != "":
		e.Link, e.Mode = f.Symlink.Value, 0o777
	case f.Metadata.Value != "":
		data, err := r.Config.Metadata(f.Metadata.Value)
		e.Data = data
		return e, err
	case f.Contents.Set:
		e.Data = []byte(f.Contents.Value)
	default:
		return r.sourceEntry(f, e)
	}
	return e, nil
}

// sourceEntry makes the entry of a file whose content is read later, when the
// layer is.
func (r *Resolved) sourceEntry(f *File, e Entry) (Entry, error) {
	source := f.Source.Value
	open := r.opts.Open
	if open == nil {
		open = func(name string) (fs.File, error) {
			return nil, fmt.Errorf("source %s: local files are not to be had here: %w", name, fs.ErrNotExist)
		}
	}
	size, data, err := lookAtSource(open, source)
	switch {
	case err != nil && f.Skips(err):
		return e, errSkip
	case err != nil:
		return e, fmt.Errorf("reading its source: %w", err)
	case data != nil:
		e.Data = data
		return e, nil
	}
	e.Size = size
	e.Open = func() (io.ReadCloser, error) { return open(source) }
	return e, nil
}

// Skips reports whether the file is left out because opening its source gave
// err: it is optional, and there is no such file.
func (f *File) Skips(err error) bool {
	return f.Optional.Value && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR))
}

// Files of /proc have no size, and those of /sys that of a page, which has up to
// maxPage bytes, whatever is in them. maxUnsized bounds what they have.
const maxPage, maxUnsized = 64 << 10, 16 << 20

// lookAtSource returns the size of a source, or, of one that has more or less
// than it says, the content.
func lookAtSource(open func(string) (fs.File, error), name string) (size int64, data []byte, err error) {
	file, err := open(name)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return 0, nil, err
	case !info.Mode().IsRegular():
		return 0, nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxPage:
		return info.Size(), nil, nil
	}
	data, err = io.ReadAll(io.LimitReader(file, maxUnsized+1))
	switch {
	case err != nil:
		return 0, nil, err
	case len(data) > maxUnsized:
		return 0, nil, fmt.Errorf("%s says that it has %d bytes, and has more than %d", name, info.Size(), maxUnsized)
	case int64(len(data)) == info.Size():
		return info.Size(), nil, nil
	}
	return 0, data, nil
}

// Metadata returns the merged configuration as one document, in the keys of
// the files: "json" or "yaml".
func (c *Config) Metadata(format string) ([]byte, error) {
	if format == "yaml" {
		return writeYAML(c.doc), nil
	}
	compact, err := c.doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "    "); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
