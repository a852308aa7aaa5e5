package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hooksmith/publish"
	"hooksmith/publish/sign"
)

func newSign(a *app) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "sign FOLDER",
		Short: "Sign the artifacts in a folder",
		Long: `Write hook.json.minisig: a detached Ed25519 signature of hook.json in minisign's format.
hook.json has the hash of every artifact; the other documents (checksum.txt, SBOM, lock
file) are named with their hashes in the signature's trusted comment. All files are read
and compared with hook.json first.`,
		Example: `  hooksmith sign out/hook --key hook.key
  minisign -Vm out/hook/hook.json -p hook.key.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd); err != nil {
				return err
			}
			private, err := a.privateKey(key)
			if err != nil {
				return err
			}
			if err := publish.SignFolder(cmd.Context(), args[0], private, time.Now()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, filepath.Join(args[0], sign.Name))
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "private key `FILE` of hooksmith keygen or minisign -G")
	_ = cmd.MarkFlagRequired("key") // fails only for a flag that is not there
	return cmd
}

func (a *app) privateKey(path string) (*sign.PrivateKey, error) {
	key, err := sign.ReadPrivateKey(path, a.keyPassword)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}
