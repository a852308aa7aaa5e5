package kernelconfig

import (
	"errors"
	"fmt"
	"strings"

	"hooksmith/kernel/kconfig"
)

// stuckError is a value that olddefconfig did not keep.
type stuckError struct {
	flag   string
	reason *kconfig.Reason
	steps  []kconfig.Step // that would make it stick, as far as that is plain
}

func (e *stuckError) Error() string { return e.flag + ": " + e.reason.Error() }
func (e *stuckError) Unwrap() error { return e.reason }

// Hint says what to set as well.
func (e *stuckError) Hint() string {
	if len(e.steps) == 0 {
		return e.reason.Hint()
	}
	var sets []string
	for _, s := range e.steps {
		sets = append(sets, fmt.Sprintf("--set CONFIG_%s=%s", s.Name, s.Value))
	}
	return "what it needs, all together: " + strings.Join(sets, " ")
}

// stuck adds the next step to a reason, if turning things on would help.
func (s *Session) stuck(now kconfig.Config, w wish, r *kconfig.Reason) error {
	e := &stuckError{flag: w.flag, reason: r}
	if want := map[string]kconfig.Tri{"m": kconfig.Mod, "y": kconfig.Yes}[w.Value]; want != kconfig.No {
		steps, err := s.tree.Enable(now, w.Name, want)
		if err == nil && len(steps) > 1 {
			e.steps = steps
		}
	}
	return e
}

// join is errors.Join of all that went wrong, with what came of it.
func join(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errors.Join(append(errs, errors.New("nothing was written"))...)
}
