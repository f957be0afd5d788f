/// What lies under the names of TorchSharp where the tensors come from our own binding.
module Binding

open System
open System.IO
open System.Reflection
open Expecto
open AdvContrast.Torch
open AdvContrast.Torch.Engine

let private hidden = BindingFlags.NonPublic ||| BindingFlags.Static ||| BindingFlags.Instance

let private part name =
    match typeof<IEngine>.Assembly.GetType $"AdvContrast.Torch.Binding.{name}" with
    | null -> skiptest "only with TorchSource=system"
    | found -> found

/// Calls a hidden static function, with its own exception where it raises one.
let private call (owner: Type) name (arguments: obj[]) =
    try
        owner.GetMethod(name, hidden).Invoke(null, arguments)
    with :? TargetInvocationException as e ->
        raise e.InnerException

let private inFolder (test: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "advcontrast"

    try
        test folder.FullName
    finally
        folder.Delete true

/// The message with which the loader refuses.
let private refusal (action: unit -> unit) =
    Expect.throwsC action (fun e ->
        Expect.isTrue (e :? LibTorchException) $"a LibTorchException, not {e.GetType().Name}"
        Expect.stringContains e.Message "run: dotnet fsi build.fsx setup" "it says what to do"
        e.Message)

let private record (path: string) (fingerprint: string) =
    Activator.CreateInstance(part "LibTorchRecord", [| box path; box "system"; box fingerprint |])

let private verify record (asked: string) =
    call (part "NativeLoader") "Verify" [| record; box asked |] |> ignore

let tests =
    testList "Binding" [
        testCase "this libtorch has every operator that the wrappers name" (fun () ->
            let find = (part "Op").GetMethod("Find", hidden)

            let missing = [
                for field in (part "Ops").GetFields hidden do
                    try
                        find.Invoke(field.GetValue null, [||]) |> ignore
                    with :? TargetInvocationException ->
                        field.Name
            ]

            Expect.equal missing [] "operators that are not there")

        testCase "without a bridge the loader says what to do" (fun () ->
            inFolder (fun folder ->
                let said = refusal (fun () -> call (part "NativeLoader") "Load" [| [ folder ] |] |> ignore)
                Expect.stringContains said "bridge" "what is missing"))

        testCase "a bridge that cannot be loaded is said so" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(Path.Combine(folder, "libadvcontrast_torch.so"), "not a library")
                refusal (fun () -> call (part "NativeLoader") "Load" [| [ folder ] |] |> ignore) |> ignore))

        testCase "a damaged record is said so" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(Path.Combine(folder, "libtorch.json"), "{ \"path\": ")
                refusal (fun () -> call (part "NativeLoader") "Read" [| folder |] |> ignore) |> ignore))

        testCase "the libtorch of set-up must still be there, unchanged" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(Path.Combine(folder, "libtorch_cpu.so"), "a library")
                let fingerprint = string (call (part "NativeLoader") "Fingerprint" [| folder |])
                verify (record folder fingerprint) null
                verify (record folder "") null
                verify (record folder fingerprint) folder
                let said = refusal (fun () -> verify (record folder "1-1") null)
                Expect.stringContains said "changed since set-up" "another file"
                let said = refusal (fun () -> verify (record (folder + "/gone") fingerprint) null)
                Expect.stringContains said "no libtorch any more" "another folder"
                let said = refusal (fun () -> verify (record folder fingerprint) "/opt/other")
                Expect.stringContains said "ADVCONTRAST_LIBTORCH" "another wish"))
    ]
