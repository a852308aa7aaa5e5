package linuxkit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// LabelKey is the label of an image that holds the settings it needs to run
// under LinuxKit: one object in JSON or YAML, with the keys of a container but
// for name and image.
const LabelKey = "org.mobyproject.config"

// ParseLabel reads the value of LabelKey. The image's name is for messages;
// an empty label is no settings.
func ParseLabel(image, label string) (Settings, error) {
	var s Settings
	data := bytes.TrimSpace([]byte(label))
	if len(data) == 0 {
		return s, nil
	}
	file := fmt.Sprintf("label %s of %.200s", LabelKey, image)
	if len(data) > maxDocument {
		return s, &Error{Pos: Pos{File: file}, Message: fmt.Sprintf("%d bytes: a label has at most %d", len(data), maxDocument)}
	}
	n, err := parseLabel(file, data)
	if err != nil {
		return s, err
	}
	d := &decoder{}
	d.object(where{}, n, labelFields(&s))
	return s, errors.Join(d.errs...)
}

func parseLabel(file string, data []byte) (*node, error) {
	if data[0] != '{' {
		return parseYAML(file, data)
	}
	n, err := parseJSON(file, data)
	if err == nil {
		return n, nil
	}
	// {a: b} is YAML though it begins like JSON.
	if fromYAML, yamlErr := parseYAML(file, data); yamlErr == nil {
		return fromYAML, nil
	}
	return nil, err
}

func labelFields(s *Settings) fields {
	known := settingsFields(s)
	forbidden := func(d *decoder, at where, e entry) {
		d.fail(e.pos, at, "a label cannot set this: it belongs to the LinuxKit file")
	}
	known["name"], known["image"] = forbidden, forbidden
	return known
}

// first returns the first setting that is set.
func first[T any](settings ...Setting[T]) Setting[T] {
	for _, s := range settings {
		if s.Set {
			return s
		}
	}
	return Setting[T]{}
}

// join appends lists. The result is set if one of them is.
func join(lists ...Setting[[]string]) Setting[[]string] {
	var all Setting[[]string]
	for _, s := range lists {
		if !s.Set {
			continue
		}
		if !all.Set {
			all.Set, all.Pos = true, s.Pos
		}
		for i, value := range s.Value {
			all.Value, all.Elems = append(all.Value, value), append(all.Elems, s.at(i))
		}
	}
	return all
}

// merge decides every key of a container: the file's value if the key is
// there, even empty; else the label's; else, for command, env and cwd, what
// the image's configuration says. The keys `binds.add` and `capabilities.add`
// append to what has been decided for `binds` and `capabilities`; the result
// has no .add keys.
//
// LinuxKit drops .add where the file also sets the list itself; so does
// Options.Compat.
func merge(file, label *Settings, image v1.Config, opts Options) Settings {
	m := mergeKeys(file, label)
	m.Binds = mergeList(file.Binds, file.BindsAdd, label.Binds, label.BindsAdd, opts)
	m.Capabilities = mergeList(file.Capabilities, file.CapabilitiesAdd, label.Capabilities, label.CapabilitiesAdd, opts)
	if !m.Command.Set {
		m.Command.Value = slices.Concat(image.Entrypoint, image.Cmd)
	}
	if !m.Env.Set {
		m.Env.Value = image.Env
	}
	if !m.Cwd.Set {
		m.Cwd.Value = image.WorkingDir
	}
	if m.Cwd.Value == "" {
		m.Cwd.Value = "/"
	}
	return m
}

func mergeList(file, fileAdd, label, labelAdd Setting[[]string], opts Options) Setting[[]string] {
	switch {
	case file.Set && opts.Compat:
		return file
	case file.Set:
		return join(file, fileAdd)
	}
	return join(label, labelAdd, fileAdd)
}

// mergeKeys merges all keys that are not special.
func mergeKeys(file, label *Settings) Settings {
	return Settings{
		Ambient:           first(file.Ambient, label.Ambient),
		Mounts:            first(file.Mounts, label.Mounts),
		Devices:           first(file.Devices, label.Devices),
		Tmpfs:             first(file.Tmpfs, label.Tmpfs),
		Command:           first(file.Command, label.Command),
		Env:               first(file.Env, label.Env),
		Cwd:               first(file.Cwd, label.Cwd),
		Net:               first(file.Net, label.Net),
		Pid:               first(file.Pid, label.Pid),
		Ipc:               first(file.Ipc, label.Ipc),
		Uts:               first(file.Uts, label.Uts),
		Userns:            first(file.Userns, label.Userns),
		Hostname:          first(file.Hostname, label.Hostname),
		Readonly:          first(file.Readonly, label.Readonly),
		MaskedPaths:       first(file.MaskedPaths, label.MaskedPaths),
		ReadonlyPaths:     first(file.ReadonlyPaths, label.ReadonlyPaths),
		UID:               first(file.UID, label.UID),
		GID:               first(file.GID, label.GID),
		AdditionalGids:    first(file.AdditionalGids, label.AdditionalGids),
		NoNewPrivileges:   first(file.NoNewPrivileges, label.NoNewPrivileges),
		OOMScoreAdj:       first(file.OOMScoreAdj, label.OOMScoreAdj),
		RootfsPropagation: first(file.RootfsPropagation, label.RootfsPropagation),
		CgroupsPath:       first(file.CgroupsPath, label.CgroupsPath),
		Resources:         first(file.Resources, label.Resources),
		Sysctl:            first(file.Sysctl, label.Sysctl),
		Rlimits:           first(file.Rlimits, label.Rlimits),
		UIDMappings:       first(file.UIDMappings, label.UIDMappings),
		GIDMappings:       first(file.GIDMappings, label.GIDMappings),
		Annotations:       first(file.Annotations, label.Annotations),
		Runtime:           mergeRuntime(&file.Runtime, &label.Runtime),
	}
}

// mergeRuntime merges field by field, not the object as a whole.
func mergeRuntime(file, label *Runtime) Runtime {
	return Runtime{
		Cgroups:    first(file.Cgroups, label.Cgroups),
		Mounts:     first(file.Mounts, label.Mounts),
		Mkdir:      first(file.Mkdir, label.Mkdir),
		Interfaces: first(file.Interfaces, label.Interfaces),
		BindNS: BindNS{
			Cgroup: first(file.BindNS.Cgroup, label.BindNS.Cgroup),
			Ipc:    first(file.BindNS.Ipc, label.BindNS.Ipc),
			Mnt:    first(file.BindNS.Mnt, label.BindNS.Mnt),
			Net:    first(file.BindNS.Net, label.BindNS.Net),
			Pid:    first(file.BindNS.Pid, label.BindNS.Pid),
			User:   first(file.BindNS.User, label.BindNS.User),
			Uts:    first(file.BindNS.Uts, label.BindNS.Uts),
		},
		Namespace: first(file.Namespace, label.Namespace),
	}
}

// capabilitiesOf returns what the merged list means. With Options.Compat,
// `all` beside others is the error that it is in LinuxKit.
func capabilitiesOf(merged Setting[[]string], opts Options) ([]string, error) {
	if opts.Compat && len(merged.Value) > 1 && slices.ContainsFunc(merged.Value, isAll) {
		return nil, errors.New("unknown capability: all (LinuxKit allows it only alone)")
	}
	return expandCapabilities(merged.Value), nil
}
