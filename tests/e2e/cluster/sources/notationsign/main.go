// Command notationsign signs an image of a plain HTTP registry with a key and a certificate chain of
// the test's, as "notation sign" does with a key of its trust store.
//
//	notationsign KEY.pem CHAIN.pem REGISTRY/REPOSITORY@DIGEST
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"oras.land/oras-go/v2/registry/remote"
)

func sign(key, chain, image string) error {
	repository, err := remote.NewRepository(image)
	if err != nil {
		return err
	}
	repository.PlainHTTP = true
	with, err := signer.NewGenericSignerFromFiles(key, chain)
	if err != nil {
		return err
	}
	_, err = notation.Sign(context.Background(), with, registry.NewRepository(repository), notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: jws.MediaTypeEnvelope},
		ArtifactReference: image,
	})
	return err
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: notationsign KEY.pem CHAIN.pem REGISTRY/REPOSITORY@DIGEST")
		os.Exit(2)
	}
	if err := sign(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "notationsign:", err)
		os.Exit(1)
	}
}
