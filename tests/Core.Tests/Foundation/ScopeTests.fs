/// Who frees native memory.
module Tests.Foundation.ScopeTests

open System
open Expecto
open TorchSharp
open AdvContrast.Core.Foundation
open Support.Laws

let private make () = torch.zeros [| 2L |]
let private live () = Autograd.liveTensors ()

[<Tests>]
let tests =
    testList "Foundation.Scope" [
        test "what is kept outlives the body, what is not does not" (fun () ->
            let mutable dropped = null

            let kept =
                Scope.keeping id (fun () ->
                    dropped <- make ()
                    [ make (); make () ])

            Expect.isTrue dropped.IsInvalid "the one that was not named"
            Expect.all kept (fun x -> not x.IsInvalid) "those that were")

        test "what is kept goes to the caller's scope" (fun () ->
            let mutable inner = null
            Scope.value (fun () ->
                inner <- Scope.tensor make
                Expect.isFalse inner.IsInvalid "alive inside")
            Expect.isTrue inner.IsInvalid "freed with the caller's scope")

        test "what belongs to another scope stays there" (fun () ->
            let outer = make ()
            let returned = Scope.tensor (fun () -> outer)
            Expect.isTrue (obj.ReferenceEquals(returned, outer)) "the same tensor"
            Scope.value (fun () -> Scope.tensor (fun () -> outer) |> ignore)
            Expect.isFalse outer.IsInvalid "still alive, two scopes later")

        test "a body that raises frees what it made" (fun () ->
            let before = live ()

            Expect.throwsT<InvalidOperationException>
                (fun () ->
                    Scope.tensor (fun () ->
                        make () |> ignore
                        raise (InvalidOperationException "stop"))
                    |> ignore)
                "the body's own exception"

            Expect.equal (live ()) before "live tensors")

        test "a value's tensors are all freed" (fun () ->
            let before = live ()
            Expect.equal (Scope.value (fun () -> (make () + make ()).numel())) 2L "the value"
            Expect.equal (live ()) before "live tensors")

        test "what is adopted belongs to nobody until it is disposed" (fun () ->
            let mutable adopted = null

            Scope.value (fun () ->
                adopted <- make ()
                Scope.adopt [ adopted ])

            Expect.isFalse adopted.IsInvalid "alive after its scope"
            let before = live ()
            adopted.Dispose()
            Expect.equal (live ()) (before - 1L) "freed by its holder")

        test "release frees what the new value no longer holds" (fun () ->
            let shared, gone, fresh = make (), make (), make ()
            Scope.release [ shared; fresh ] [ shared; gone ]
            Expect.isFalse shared.IsInvalid "held by both"
            Expect.isTrue gone.IsInvalid "held by the old one"
            Expect.isFalse fresh.IsInvalid "held by the new one")

        test "release tells tensors apart by identity, not by value" (fun () ->
            let before, after = make (), make ()
            Scope.release [ after ] [ before ]
            Expect.isTrue before.IsInvalid "equal values, another tensor")

        test "a tensor moves to an outer scope only from the current one" (fun () ->
            let mutable moved, foreign = null, null
            let home = torch.CurrentDisposeScope

            Scope.value (fun () ->
                foreign <- make ()

                Scope.value (fun () ->
                    moved <- make ()
                    Scope.moveTo home [ moved; foreign ]))

            Expect.isFalse moved.IsInvalid "moved two scopes out"
            Expect.isTrue foreign.IsInvalid "freed with the scope that owned it")
    ]
