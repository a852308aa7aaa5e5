package build

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/google/renameio/v2"
)

// A build leaves a note in the cache about the files that it has put into its
// output folder. A later build of the same inputs by the same program finds
// the files untouched and has nothing to do.

// note is what the cache keeps about one output id of one folder.
type note struct {
	BuildID string      `json:"build_id"`
	Program string      `json:"program"`
	Files   []noteEntry `json:"files"`
}

// noteEntry tells a file from every other one, and from itself after a change:
// whoever writes it moves its change time.
type noteEntry struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Inode   uint64 `json:"inode"`
	Changed int64  `json:"changed"` // nanoseconds since 1970
}

// notePath is where the note about this build's output is.
func (p *Plan) notePath() (string, error) {
	dir, err := filepath.Abs(p.opt.Out)
	if err != nil {
		return "", err
	}
	name, err := buildID(dir, p.opt.Flavor.OutputID)
	return filepath.Join(p.opt.Cache.Dir, "built", name+".json"), err
}

// upToDate returns what the output folder holds if it is what the plan would
// make, or nil.
func (p *Plan) upToDate() *Artifacts {
	if p.opt.Program == "" {
		return nil
	}
	path, err := p.notePath()
	if err != nil {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var n note
	id, err := p.ID()
	if err != nil || json.Unmarshal(text, &n) != nil || n.BuildID != id || n.Program != p.opt.Program {
		return nil
	}
	for _, was := range n.Files {
		if is, err := noteOf(p.opt.Out, was.Name); err != nil || is != was {
			return nil
		}
	}
	m, err := ReadManifest(p.opt.Out)
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(m.Builds, func(a Artifacts) bool { return a.BuildID == id })
	if i < 0 {
		return nil
	}
	return &m.Builds[i]
}

// noteDown writes the note. A cache that cannot be written costs time later
// and nothing now.
func (p *Plan) noteDown(a *Artifacts) {
	if p.opt.Program == "" {
		return
	}
	n := note{BuildID: a.BuildID, Program: p.opt.Program}
	names := []string{ManifestName, ChecksumName, LockName}
	if !p.opt.NoSBOM {
		names = append(names, SBOMName)
	}
	for _, f := range a.Files {
		names = append(append(names, f.Name), f.Aliases...)
	}
	for _, name := range names {
		e, err := noteOf(p.opt.Out, name)
		if err != nil {
			p.opt.Log.Debug("the next build will not know that it has nothing to do", "error", err)
			return
		}
		n.Files = append(n.Files, e)
	}
	path, err := p.notePath()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	text, jsonErr := json.Marshal(n)
	if err == nil && jsonErr == nil {
		err = renameio.WriteFile(path, text, 0o644)
	}
	if err != nil {
		p.opt.Log.Debug("the next build will not know that it has nothing to do", "error", err)
	}
}

func noteOf(dir, name string) (noteEntry, error) {
	st, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		return noteEntry{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return noteEntry{}, fmt.Errorf("%s: its change time is unknown", name)
	}
	return noteEntry{name, st.Size(), sys.Ino, sys.Ctim.Nano()}, nil
}
