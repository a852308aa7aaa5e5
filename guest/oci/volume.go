package oci

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PlanVolume lists what makes the volume in dir (/containers/volumes/NAME) appear at its folder merged, which containers
// bind: an overlay that keeps changes in tmp or, without that folder, its content read-only.
func PlanVolume(dir string) []Step {
	lower, tmp, merged := filepath.Join(dir, "lower"), filepath.Join(dir, "tmp"), filepath.Join(dir, "merged")
	steps := []Step{{Mkdir: merged}}
	if info, err := os.Stat(tmp); err != nil || !info.IsDir() {
		return append(steps, Step{Source: lower, Target: merged, Flags: unix.MS_BIND},
			Step{Target: merged, Flags: unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY})
	}
	upper, work := filepath.Join(tmp, "upper"), filepath.Join(tmp, "work")
	return append(steps, Step{Mkdir: upper}, Step{Mkdir: work}, Step{
		Source: "overlay", Target: merged, Type: "overlay", Data: "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work,
	})
}
