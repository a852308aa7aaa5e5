package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"hooksmith/publish"
	"hooksmith/publish/sign"
)

func newFetch(a *app) *cobra.Command {
	var o transferFlags
	var key, kube string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fetch SOURCE FOLDER",
		Short: "Mirror a published HookOS into a folder",
		Long: `Bring a published set into a folder, for sites without a way to its origin: from all that
hooksmith publish writes to (with or without a set's id at the end), or the HookOS that a
bundle of EKS Anywhere names. Every file is compared with hook.json before it gets its
name; what was begun is continued, what is there is not moved again.

Bundles have no hashes: what comes is recorded in hook.json, and another content under
the same address is refused later.`,
		Example: `  hooksmith fetch https://files.example.com/hook out/hook --key hook.pub
  hooksmith fetch oci://registry.example.com/hookos:latest /srv/hook
  hooksmith fetch https://anywhere-assets.eks.amazonaws.com/releases/bundles/1/manifest.yaml /srv/hook --kube-version 1.31`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			common, err := o.options(a)
			if err != nil {
				return err
			}
			opt := publish.FetchOptions{Source: args[0], Dir: args[1], KubeVersion: kube, Access: common.Access, RateLimit: common.RateLimit,
				Parallel: common.Parallel, Observer: common.Observer, Log: a.log}
			if key != "" {
				if opt.Key, err = sign.ReadPublicKey(key); err != nil {
					return fmt.Errorf("--key: %w", err)
				}
			}
			result, err := publish.Fetch(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.printFetched(args[1], result, asJSON)
		},
	}
	o.add(cmd)
	cmd.Flags().StringVar(&key, "key", "", "refuse what is not signed by this public key `FILE`")
	cmd.Flags().StringVar(&kube, "kube-version", "", "Kubernetes `VERSION` whose HookOS a bundle is asked for (default the newest)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (a *app) printFetched(dir string, r *publish.Fetched, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	for _, f := range r.Files {
		if _, err := fmt.Fprintf(a.stdout, "%s/%s\t%s\tsha256:%s\n", dir, f.Name, byteCount(f.Size), f.SHA256); err != nil {
			return err
		}
	}
	state := "every file is as hook.json says"
	if r.Signed {
		state += ", which is signed"
	}
	fmt.Fprintf(a.stderr, "set %s: %s moved; %s\n", r.ID, byteCount(r.Moved), state)
	for _, name := range r.Omitted {
		fmt.Fprintf(a.stderr, "%s was left out: the signature does not vouch for it\n", name)
	}
	return nil
}
