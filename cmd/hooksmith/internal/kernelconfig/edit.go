package kernelconfig

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"hooksmith/kernel/kconfig"
)

// Edit is what to change without a terminal: fragments first, in their order,
// then the assignments of --set, then drivers.
type Edit struct {
	Fragments []Fragment
	Set       []kconfig.Assignment
	Drivers   []string
}

// Fragment is a file of assignments.
type Fragment struct {
	Name   string
	Config kconfig.Config
}

// Empty tells whether there is nothing to change.
func (e Edit) Empty() bool { return len(e.Fragments)+len(e.Set)+len(e.Drivers) == 0 }

// ParseFragment reads a file of --fragment.
func ParseFragment(name string, data []byte) (Fragment, error) {
	c, err := kconfig.Parse(bytes.NewReader(data))
	if err == nil && len(c) == 0 {
		err = fmt.Errorf("it sets no symbol")
	}
	if err != nil {
		return Fragment{}, fmt.Errorf("--fragment %s: %w", name, err)
	}
	return Fragment{name, c}, nil
}

// wish is a value that somebody asked for, and who.
type wish struct {
	kconfig.Assignment
	flag string
}

// Apply changes the configuration, and checks afterwards that each symbol has
// what was asked for. Notes say, for people, what else had to be turned on. An
// error names every symbol that did not stick, and why.
func (s *Session) Apply(ctx context.Context, e Edit) (notes []string, err error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	wishes, err := s.wishes(e)
	if err != nil {
		return nil, err
	}
	now, err := s.merge(ctx, wishes)
	if err != nil {
		return nil, err
	}
	if err := s.check(now, wishes); err != nil {
		return nil, err
	}
	for _, name := range e.Drivers {
		note, err := s.addDriver(ctx, name, &now, &wishes)
		if err != nil {
			return nil, err
		}
		notes = append(notes, note)
	}
	return notes, nil
}

// wishes are the assignments of fragments and --set, later ones winning, in
// the form that the symbols want.
func (s *Session) wishes(e Edit) ([]wish, error) {
	var all []wish
	for _, f := range e.Fragments {
		for _, line := range bytes.Split(bytes.TrimSpace(f.Config.Format()), []byte("\n")) {
			c, err := kconfig.Parse(bytes.NewReader(line))
			if err != nil {
				return nil, err
			}
			for name, value := range c { // one
				all = append(all, wish{kconfig.Assignment{Name: name, Value: value}, "--fragment " + f.Name})
			}
		}
	}
	for _, a := range e.Set {
		all = append(all, wish{a, "--set"})
	}
	var errs []error
	for i, w := range all {
		a, err := s.tree.Normalize(w.Assignment)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.flag, err))
		}
		all[i].Assignment = a
	}
	slices.Reverse(all) // the later of two wishes counts
	seen := map[string]bool{}
	all = slices.DeleteFunc(all, func(w wish) bool {
		twice := seen[w.Name]
		seen[w.Name] = true
		return twice
	})
	slices.Reverse(all)
	return all, join(errs)
}

const fragmentPath = "/tmp/hooksmith.config"

// merge adds the wishes with the kernel's own script, and settles.
func (s *Session) merge(ctx context.Context, wishes []wish) (kconfig.Config, error) {
	if len(wishes) > 0 {
		var text strings.Builder
		for _, w := range wishes {
			fmt.Fprintln(&text, w.Assignment)
		}
		if err := s.work.WriteFile(ctx, fragmentPath, []byte(text.String())); err != nil {
			return nil, err
		}
		if err := s.work.Run(ctx, nil, "sh", "scripts/kconfig/merge_config.sh", "-m", ".config", fragmentPath); err != nil {
			return nil, err
		}
		if err := s.settle(ctx); err != nil {
			return nil, err
		}
	}
	return s.config(ctx)
}

// check compares the configuration with what was asked for.
func (s *Session) check(now kconfig.Config, wishes []wish) error {
	var errs []error
	for _, w := range wishes {
		if r := s.tree.Why(now, w.Assignment); r != nil {
			errs = append(errs, s.stuck(now, w, r))
		}
	}
	return join(errs)
}

// addDriver turns on what builds a module, and what that needs.
func (s *Session) addDriver(ctx context.Context, name string, now *kconfig.Config, wishes *[]wish) (string, error) {
	flag := "--driver " + name
	steps, driver, err := s.modules.Enable(s.tree, *now, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	place := fmt.Sprintf("%s: module %s (%s)", flag, driver.Name, driver.At)
	if len(steps) == 0 {
		return place + " is built already", nil
	}
	var texts []string
	for _, step := range steps {
		*wishes = append(*wishes, wish{step.Assignment, flag})
		text := step.Assignment.String()
		if step.For != "" && !slices.Contains(driver.Symbols, step.Name) {
			text += " (needed by " + step.For + ")"
		}
		texts = append(texts, text)
	}
	if *now, err = s.merge(ctx, *wishes); err != nil {
		return "", err
	}
	return place + ": " + strings.Join(texts, ", "), s.check(*now, *wishes)
}
