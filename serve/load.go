package serve

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Inputs is where a configuration comes from, the weakest first.
type Inputs struct {
	File      string // name of the configuration file, for messages and relative paths; "": none
	Data      []byte // its content
	LookupEnv func(key string) (string, bool)
	Flags     map[string][]string // values of the flags that were given, by setting
}

// Loaded is a configuration and where each of its values came from.
type Loaded struct {
	Config
	Origin map[string]string // setting -> "--pool", "HOOKSMITH_POOL" or "serve.yaml:3:1"; not there: the default
}

// maxConfigFile bounds serve.yaml; templates may be in it.
const maxConfigFile = 1 << 20

// Load puts flags over environment over file over the zero Config, and checks
// the result. The error is everything that is wrong, with file, line and
// column, flag or variable.
func Load(in Inputs) (*Loaded, error) {
	l := &Loaded{Origin: map[string]string{}}
	settings := map[string]*Setting{}
	for _, s := range l.Settings() {
		settings[s.Name] = s
	}
	errs := l.loadFile(settings, in.File, in.Data)
	l.relativeTo(filepath.Dir(in.File), func(name string) bool { return l.Origin[name] != "" })
	for _, s := range l.Settings() {
		if v, ok := in.LookupEnv(s.Env()); ok && v != "" {
			errs = append(errs, l.set(s, s.Env(), v))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Flags)) {
		errs = append(errs, l.set(settings[name], "--"+name, in.Flags[name]...))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return l, l.named(l.Validate())
}

func (l *Loaded) set(s *Setting, origin string, values ...string) error {
	l.Origin[s.Name] = origin
	if err := s.Set(values...); err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	return nil
}

// named puts the origin in front of errors that start with a setting's name.
func (l *Loaded) named(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var errs []error
	for _, each := range joined.Unwrap() {
		name, _, _ := strings.Cut(each.Error(), ":")
		if origin := l.Origin[name]; origin != "" && origin != "--"+name {
			each = fmt.Errorf("%s: %w", origin, each)
		}
		errs = append(errs, each)
	}
	return errors.Join(errs...)
}

// loadFile sets what the file says; an empty one says nothing.
func (l *Loaded) loadFile(settings map[string]*Setting, file string, data []byte) (errs []error) {
	defer func() { // goccy/go-yaml 1.19.2 panics on some input, such as "a: !0 #"
		if r := recover(); r != nil {
			errs = append(errs, fmt.Errorf("%s: not YAML: %v", file, r))
		}
	}()
	if len(data) > maxConfigFile {
		return []error{fmt.Errorf("%s: larger than %d bytes", file, maxConfigFile)}
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return []error{yamlError(file, err)}
	}
	if len(tree.Docs) > 1 {
		return []error{fmt.Errorf("%s: more than one document", file)}
	}
	for _, doc := range tree.Docs {
		for _, pair := range pairs(doc.Body) {
			if err := l.loadPair(settings, file, pair); err != nil {
				errs = append(errs, err)
			}
		}
		if pairs(doc.Body) == nil && doc.Body != nil && doc.Body.Type() != ast.CommentType && doc.Body.Type() != ast.NullType {
			errs = append(errs, at(file, doc.Body.GetToken(), errors.New("want NAME: VALUE lines, with the names of flags")))
		}
	}
	return errs
}

func pairs(body ast.Node) []*ast.MappingValueNode {
	switch body := body.(type) {
	case *ast.MappingNode:
		return body.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{body}
	}
	return nil
}

// loadPair sets one key. Both name-with-hyphens and name_with_underscores are read.
func (l *Loaded) loadPair(settings map[string]*Setting, file string, pair *ast.MappingValueNode) error {
	key := pair.Key.GetToken()
	name := strings.ReplaceAll(key.Value, "_", "-")
	origin := place(file, key)
	if name == "templates" {
		l.Origin[name] = origin
		if err := yaml.NodeToValue(pair.Value, &l.Templates, yaml.Strict()); err != nil {
			return yamlError(file, err)
		}
		return nil
	}
	s, ok := settings[name]
	if !ok {
		return at(file, key, fmt.Errorf("unknown setting %q; hooksmith serve --help has all", key.Value))
	}
	values, err := scalars(pair.Value, s.Split != "")
	if err == nil && values != nil {
		l.Origin[name] = origin
		err = s.Set(values...)
	}
	if err != nil {
		return at(file, pair.Value.GetToken(), fmt.Errorf("%s: %w", key.Value, err))
	}
	return nil
}

// scalars returns the text of a value, or of each in a list; nil for none.
func scalars(n ast.Node, list bool) ([]string, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, nil
	case *ast.StringNode:
		return []string{n.Value}, nil
	case *ast.LiteralNode:
		return []string{strings.TrimSpace(n.Value.Value)}, nil
	case *ast.SequenceNode:
		if !list {
			return nil, errors.New("takes one value, not a list")
		}
		all := []string{}
		for _, item := range n.Values {
			one, err := scalars(item, false)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return []string{n.GetToken().Value}, nil
	}
	return nil, fmt.Errorf("want a value, not %s", strings.ToLower(n.Type().String()))
}

func place(file string, t *token.Token) string {
	if t == nil || t.Position == nil {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
}

func at(file string, t *token.Token, err error) error {
	return fmt.Errorf("%s: %w", place(file, t), err)
}

func yamlError(file string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) {
		return at(file, y.GetToken(), errors.New(y.GetMessage()))
	}
	return fmt.Errorf("%s: %w", file, err)
}
