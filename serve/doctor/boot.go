package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"

	"hooksmith/serve/ipxe"
)

// maxChain bounds scripts that chain to scripts.
const maxChain = 6

// run runs a script, the scripts that it chains to, and fetches what they boot.
func (d *doctor) run(ctx context.Context, q *question, got *file) []Step {
	step := got.said(Script)
	if !got.ok {
		return []Step{step}
	}
	fault := func(code Code, do, format string, args ...any) []Step {
		d.problem(code, q.player.name, hostOf(got.url), do, format, args...)
		step.State, step.Text = Bad, fmt.Sprintf(format, args...)
		return []Step{step}
	}
	settings := d.settings(q)
	for range maxChain {
		if !beginsScript.Match(got.content) {
			return fault(ScriptInvalid, "let the URL give an iPXE script, whose first line is #!ipxe", "%s is no iPXE script: it begins with %s", got.url, beginning(got.content))
		}
		base, err := url.Parse(got.url)
		if err != nil {
			return fault(ScriptInvalid, "use plain URLs", "%s is no URL", got.url)
		}
		out := runScript(string(got.content), base, settings)
		switch {
		case out.says != "":
			return fault(ScriptInvalid, "do as the script says; where a server knows its machines, name one of them with --mac", "the script %s does not boot: %s and says: %s", got.url, out.err, out.says)
		case out.err != "":
			return fault(ScriptInvalid, "correct the script", "the script %s does not boot: %s", got.url, out.err)
		case out.chain != "":
			before := got.url
			if got = d.fetch.get(ctx, out.chain, byIPXE); !got.ok {
				d.report.addAll(got.findings, q.player.name)
				step.State, step.Text = Bad, before+" chains to "+got.url+", which is not to be had"
				return []Step{step}
			}
			if b := ipxe.Inspect(path.Base(got.url), got.content); b.IPXE != ipxe.Unknown {
				d.report.note(before + " chains to the program " + got.url + ": what that does is not known here")
				return []Step{step}
			}
			continue
		case out.other != "" || out.asks:
			d.report.note(got.url + " boots something else, or asks somebody: " + quoted(out.other))
			return []Step{step}
		case out.kernel == "" || len(out.initrds) == 0:
			return fault(ScriptNothing, "let it fetch both (hooksmith serve preview MAC shows ours)", "the script %s boots no kernel with an initramfs (kernel %s, %d initramfs)", got.url, quoted(out.kernel), len(out.initrds))
		}
		return append([]Step{step}, d.hook(ctx, q, out)...)
	}
	return fault(ScriptInvalid, "end the circle", "the script %s chains to more than %d others", got.url, maxChain)
}

// settings is what iPXE knows when a script begins. The machine's own are unknown here: those are empty.
func (d *doctor) settings(q *question) map[string]string {
	s := map[string]string{"mac": d.MAC.String(), "ip": d.own.String(), "buildarch": q.player.buildArch(), "user-class": string(q.player.user),
		"uuid": "00000000-0000-0000-0000-000000000000", "platform": "efi"}
	if q.player.arch == 0 {
		s["platform"] = "pcbios"
	}
	if a := q.file(); a != nil {
		s["next-server"], s["filename"], s["dhcp-server"] = a.NextServer, a.File, a.who()
	}
	return s
}

// hook fetches the kernel and the initramfs, and holds them against hook.json.
func (d *doctor) hook(ctx context.Context, q *question, out outcome) []Step {
	kernel := d.artifact(ctx, q, out.kernel).said(Kernel)
	worst := Step{Stage: Initramfs}
	for _, u := range out.initrds {
		s := d.artifact(ctx, q, u).said(Initramfs)
		if worst.From == "" || s.State == Bad || s.State == Doubt && worst.State == OK {
			worst = s
		}
	}
	return []Step{kernel, worst}
}

// artifact fetches one, and compares it once.
func (d *doctor) artifact(ctx context.Context, q *question, address string) *file {
	_, known := d.fetch.files[fmt.Sprint(asHook, " ", address)]
	got := d.fetch.get(ctx, address, asHook)
	if got.ok && !known {
		for _, m := range d.manifests(ctx, address) {
			m.compare(got, path.Base(address))
		}
	}
	d.report.addAll(got.findings, q.player.name)
	return got
}

// manifest is what matters here of a hook.json.
type manifest struct {
	from   string
	Schema int `json:"schema"`
	Builds []struct {
		BuildID string `json:"build_id"`
		Files   []struct {
			Name    string   `json:"name"`
			Aliases []string `json:"aliases"`
			Size    int64    `json:"size"`
			SHA256  string   `json:"sha256"`
		} `json:"artifacts"`
	} `json:"builds"`
}

// maxManifest bounds hook.json.
const maxManifest = 16 << 20

func parseManifest(from string, content []byte) (*manifest, error) {
	m := &manifest{from: from}
	if len(content) > maxManifest {
		return nil, fmt.Errorf("%s is larger than %d octets", from, maxManifest)
	}
	if err := json.Unmarshal(content, m); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if m.Schema != 1 {
		return nil, fmt.Errorf("%s: schema %d, this hooksmith knows 1", from, m.Schema)
	}
	return m, nil
}

// manifests are the hook.json beside a file, and the one that the configuration names.
func (d *doctor) manifests(ctx context.Context, address string) (all []*manifest) {
	add := func(from string, content []byte) {
		m, err := parseManifest(from, content)
		if err != nil {
			d.doubt(ManifestInvalid, "", hostOf(from), "upload the whole folder of a build again", "%s", clean(err.Error(), 300))
			return
		}
		all = append(all, m)
	}
	if u, err := url.Parse(address); err == nil && u.Scheme != "tftp" {
		u.Path, u.RawQuery = path.Join(path.Dir(u.Path), "hook.json"), ""
		if beside := d.fetch.get(ctx, u.String(), byIPXE); beside.ok {
			add(beside.url, beside.content)
		} else {
			d.report.note("there is no " + beside.url + ": hashes are not compared")
		}
	}
	if d.Expect != nil && len(d.Expect.Manifest) > 0 {
		add("hook.json of "+d.Expect.Name, d.Expect.Manifest)
	}
	return all
}

// compare holds a file against the manifest that names it.
func (m *manifest) compare(got *file, name string) {
	for _, b := range m.Builds {
		for _, f := range b.Files {
			if f.Name != name && !slices.Contains(f.Aliases, name) {
				continue
			}
			const do = "upload the folder of one build again, hook.json last; a cache on the way may have an older file"
			switch {
			case got.size >= 0 && got.size != f.Size:
				got.bad(HashDiffers, do, "%s has %d octets, %s says %d", got.url, got.size, m.from, f.Size)
			case got.sha256 != "" && got.sha256 != f.SHA256:
				got.bad(HashDiffers, do, "%s has SHA-256 %s, %s says %s", got.url, got.sha256, m.from, clean(f.SHA256, 64))
			}
			return
		}
	}
}
