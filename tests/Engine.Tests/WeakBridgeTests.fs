module WeakBridgeTests

open System.IO
open System.Threading
open AdvContrast.Engine
open Expecto

let private name = "library.so"

let private inFolder (test: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "advcontrast-"

    try
        test folder.FullName
    finally
        folder.Delete true

let private bytes = Array.init 300_000 byte

[<Tests>]
let tests =
    testList "WeakBridge" [
        testCase "copies made at the same time are one file, and whole" (fun () ->
            inFolder (fun above ->
                let folder = Path.Combine(above, "a", "b")
                let paths = Array.zeroCreate 16

                let threads =
                    Array.init paths.Length (fun i ->
                        Thread(fun () ->
                            let copy = WeakBridge.TryCopy(folder, name, bytes)
                            if File.ReadAllBytes copy = bytes then paths[i] <- copy))

                threads |> Array.iter _.Start()
                threads |> Array.iter _.Join()
                Expect.equal (Array.distinct paths) [| Path.Combine(folder, name) |] "paths"
                Expect.equal (Directory.GetFileSystemEntries folder) [| paths[0] |] "what is in the folder"))

        testCase "a damaged copy is written again" (fun () ->
            inFolder (fun folder ->
                let copy = Path.Combine(folder, name)
                File.WriteAllBytes(copy, bytes[..1000])
                Expect.equal (WeakBridge.TryCopy(folder, name, bytes)) copy "path"
                Expect.equal (File.ReadAllBytes copy) bytes "bytes"))

        testCase "a whole copy is left as it is" (fun () ->
            inFolder (fun folder ->
                let copy = WeakBridge.TryCopy(folder, name, bytes)
                let written = File.GetLastWriteTimeUtc copy |> _.AddDays(-1.0)
                File.SetLastWriteTimeUtc(copy, written)
                WeakBridge.TryCopy(folder, name, bytes) |> ignore
                Expect.equal (File.GetLastWriteTimeUtc copy) written "time"))

        testCase "a folder that cannot be there gets none" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(Path.Combine(folder, "file"), "")
                Expect.isNull (WeakBridge.TryCopy(Path.Combine(folder, "file", "a"), name, bytes)) "path"))
    ]
