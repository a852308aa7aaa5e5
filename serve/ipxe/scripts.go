package ipxe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hooksmith/serve/hardware"
)

// Scripts makes the machines' scripts. It does not change; make another for
// another configuration.
type Scripts struct {
	config    Config
	templates []*compiled
}

// NewScripts checks the configuration and the templates, also against each
// other: of two with one name, one MAC address or the same selector, none
// could be preferred. Call Check with the hardware data as well.
func NewScripts(config Config, templates []Template) (*Scripts, error) {
	errs := []error{config.Validate()}
	s := &Scripts{config: config}
	names, targets := map[string]bool{}, map[string]string{}
	for _, t := range templates {
		c, err := compile(t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if names[c.Name] {
			errs = append(errs, fmt.Errorf("template %s: two have this name", c.Name))
		}
		names[c.Name] = true
		if target := c.target(); target != "" {
			if other, taken := targets[target]; taken {
				errs = append(errs, fmt.Errorf("templates %s and %s are both for %s", other, c.Name, target))
			}
			targets[target] = c.Name
		}
		s.templates = append(s.templates, c)
	}
	return s, errors.Join(errs...)
}

// target is what a template is for; "" if only by name.
func (c *compiled) target() string {
	switch {
	case c.MAC != "":
		return c.MAC
	case c.selector.Specificity() > 0:
		terms := strings.Split(c.selector.String(), ",")
		slices.Sort(terms)
		return strings.Join(terms, ",")
	}
	return ""
}

// maxTies bounds what Check says.
const maxTies = 20

// Check renders what every machine would get and reports ties between
// selectors, templates that are named but not there and values that no script
// may have. A store's change should be checked too: labels may have changed.
func (s *Scripts) Check(machines []hardware.Machine) error {
	var errs []error
	for i := range machines {
		if machines[i].Netboot.Allow == hardware.Off {
			continue // gets no script, and that is meant
		}
		if _, err := s.For(&machines[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", orElse(machines[i].Source, machines[i].MAC), err))
		}
		if len(errs) == maxTies {
			return errors.Join(append(errs, errors.New("and perhaps more"))...)
		}
	}
	return errors.Join(errs...)
}

// Result is a machine's script and where it comes from.
type Result struct {
	Script string
	Origin string // in words: "the default script", "template debug by selector zone=b"
	Args   []string
}

// For returns the script of a machine. In case of an error, MessageScript of
// it is what the machine should get.
func (s *Scripts) For(m *hardware.Machine) (Result, error) {
	switch n := m.Netboot; {
	case n.Allow == hardware.Off:
		return Result{}, errors.New("the hardware record does not allow netboot")
	case n.ScriptURL != "":
		if err := checkWord(n.ScriptURL); err != nil {
			return Result{}, fmt.Errorf("script URL: %w", err)
		}
		return Result{Script: chainScript(n.ScriptURL), Origin: "the URL in the hardware record"}, nil
	case n.Script != "":
		return Result{Script: withMagic(n.Script), Origin: "the text in the hardware record"}, nil
	}
	t, origin, err := s.template(m)
	if err != nil {
		return Result{}, err
	}
	if t == nil {
		text, err := s.config.hookScript(m)
		if err != nil {
			return Result{}, err
		}
		args, err := s.config.arguments(m)
		return Result{text, "the default script", args}, err
	}
	data, err := s.config.templateData(m)
	if err != nil {
		return Result{}, err
	}
	text, err := t.render(data)
	return Result{text, origin, data.ArgList}, err
}

// template finds the template for a machine, nil for the default script: by
// name, by MAC address, by the selector with most terms.
func (s *Scripts) template(m *hardware.Machine) (*compiled, string, error) {
	var byMAC *compiled
	var matching []*compiled
	for _, t := range s.templates {
		switch {
		case m.Netboot.Template != "":
			if t.Name == m.Netboot.Template {
				return t, fmt.Sprintf("template %s, named by the hardware record", t.Name), nil
			}
		case t.MAC != "" && t.MAC == m.MAC:
			byMAC = t
		case t.selector.Specificity() > 0 && t.selector.Match(m.Labels):
			matching = append(matching, t)
		}
	}
	switch {
	case m.Netboot.Template != "":
		return nil, "", fmt.Errorf("the hardware record names template %q, which is not there", cut(m.Netboot.Template))
	case byMAC != nil:
		return byMAC, fmt.Sprintf("template %s by MAC address", byMAC.Name), nil
	case len(matching) == 0:
		return nil, "", nil
	}
	slices.SortStableFunc(matching, func(a, b *compiled) int {
		return cmp.Compare(b.selector.Specificity(), a.selector.Specificity())
	})
	best := matching[0]
	if len(matching) > 1 && matching[1].selector.Specificity() == best.selector.Specificity() {
		return nil, "", fmt.Errorf("templates %s (%s) and %s (%s) both match and neither is more specific; add a term to one",
			best.Name, best.selector, matching[1].Name, matching[1].selector)
	}
	return best, fmt.Sprintf("template %s by selector %s", best.Name, best.selector), nil
}

// chainScript goes on to a URL of the record.
func chainScript(to string) string {
	s := newScript()
	s.line("chain --autofree %s && exit ||", to)
	s.line("echo")
	s.line("echo hooksmith: STOPPED: the script of this machine's hardware record could not be run: %s", to)
	s.pause()
	s.line("exit 1")
	return s.String()
}
