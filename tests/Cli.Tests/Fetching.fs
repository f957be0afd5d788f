/// Data sets fetched from a server of the test's own, and what goes wrong on the way.
module Fetching

open System
open System.IO
open System.Net
open System.Threading.Tasks
open Expecto
open User

/// A server on the loopback address that answers every request alike, until it is disposed.
type private Server(status: int, body: byte[]) =
    let listener = new HttpListener()

    // A port that is free, by the system's choice.
    let port =
        use probe = new Sockets.TcpListener(IPAddress.Loopback, 0)
        probe.Start()
        (probe.LocalEndpoint :?> IPEndPoint).Port

    let asked = ResizeArray<string>()

    let rec serve () : Task = task {
        let! context = listener.GetContextAsync()
        lock asked (fun () -> asked.Add context.Request.Url.AbsolutePath)
        context.Response.StatusCode <- status
        context.Response.Close(body, true)
        return! serve ()
    }

    do
        listener.Prefixes.Add(sprintf "http://127.0.0.1:%d/" port)
        listener.Start()
        serve () |> ignore

    member _.Home = sprintf "http://127.0.0.1:%d/files" port
    member _.Asked = lock asked (fun () -> List.ofSeq asked)

    interface IDisposable with
        member _.Dispose() = listener.Close()

let private get (home: string) folder arguments = runIn [ "ADVCONTRAST_MIRROR", home ] folder arguments

[<Tests>]
let tests =
    testList "Fetching" [
        testCase "a file that the server does not have" (fun () ->
            use folder = new Folder()
            use server = new Server(404, [||])
            get server.Home folder "data get cifar10" |> isRefusal 11 "404"
            Expect.equal server.Asked [ "/files/cifar-10-binary.tar.gz" ] "what was asked for"
            Expect.isEmpty folder.Entries "what is left behind")

        testCase "a file with another checksum" (fun () ->
            use folder = new Folder()
            use server = new Server(200, "not the data set"B)
            get server.Home folder "data get fashion-mnist --data files" |> isRefusal 5 "checksum"
            Expect.equal folder.Entries (set [ "files"; "files/fashion-mnist" ]) "no file is left")

        testCase "no network" (fun () ->
            use folder = new Folder()

            let home =
                use server = new Server(200, [||])
                server.Home

            get home folder "data get stl10" |> isRefusal 11 "no connection"
            Expect.isEmpty folder.Entries "what is left behind")

        testCase "a data set that is there already is checked, and nothing is fetched" (fun () ->
            use folder = new Folder()
            use server = new Server(404, [||])
            let inner = folder.At "data/cifar-100-binary"
            Directory.CreateDirectory inner |> ignore

            for name in [ "train.bin"; "test.bin" ] do
                File.WriteAllBytes(Path.Combine(inner, name), Array.zeroCreate (3 * 3074))

            let before = folder.Entries
            let outcome = get server.Home folder "data get cifar100-coarse"
            Expect.equal (outcome.Code, outcome.Complaint) (0, "") "it ends well"
            Expect.stringContains outcome.Output "cifar100-coarse is in data already" "it says so"
            Expect.stringContains outcome.Output "test: [3; 3; 32; 32] images, 20 classes" "it is checked"
            Expect.equal (folder.Entries, server.Asked) (before, []) "nothing else happened")
    ]
