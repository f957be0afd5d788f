/// Downloads from a server of the test's own: resumed, checked, and nothing half-written under a file's name.
module Tests.Data.DownloadTests

open System
open System.Diagnostics
open System.IO
open System.Security.Cryptography
open System.Threading
open Expecto
open AdvContrast.Core.Foundation
open AdvContrast.Core.Data
open AdvContrast.Testing
open Support.Laws
open Support.TestServer

let private content = Array.init 300_000 (fun i -> byte (i * i % 251))
let private whole = wholeOf content

let private from start = {
    whole with
        Status = "206 Partial Content"
        Headers = [ sprintf "Content-Range: bytes %d-%d/%d" start (content.Length - 1) content.Length ]
        Body = content[start..]
}

// What a server does that knows ranges.
let private usual _ range = range |> Option.map from |> Option.defaultValue whole

let private hasty = { Tries = 1; Pause = TimeSpan.Zero; Silence = TimeSpan.FromSeconds 20.0 }
let private patient = { hasty with Tries = 4 }
let private never = CancellationToken.None

let private fetch patience (server: Server) (folder: string) =
    Download.fetch
        patience
        (server.Url "data.bin")
        (Some(md5 content))
        (Path.Combine(folder, "data.bin"))
        (fun _ _ -> ())
        never

let private came folder =
    Expect.equal (entries folder) [ "data.bin" ] "what is in the folder"
    Expect.isTrue (File.ReadAllBytes(Path.Combine(folder, "data.bin")) = content) "its content"

let private unreachable (parts: string list) result message =
    match wantError result message with
    | Error.Unreachable _ as error -> says parts error message
    | other -> failtestf "%s: another kind of error: %A" message other

[<Tests>]
let tests =
    testList "Data.Download" [
        test "a file comes whole, is checked, and how much has come is told" (fun () ->
            inFolder (fun folder ->
                use server = new Server(usual)
                let told = ResizeArray()
                let target = Path.Combine(folder, "below", "data.bin")

                Expect.isOk
                    (Download.fetch
                        hasty
                        (server.Url "data.bin")
                        (Some((md5 content).ToUpperInvariant()))
                        target
                        (fun came total -> told.Add(came, total))
                        never)
                    "fetched"

                came (Path.Combine(folder, "below"))
                Expect.equal (Seq.last told) (300_000L, Some 300_000L) "the last word"
                Expect.equal
                    (told |> Seq.map fst |> Seq.sort |> List.ofSeq)
                    (told |> Seq.map fst |> List.ofSeq)
                    "it grows"
                Expect.equal server.Asked [ None ] "one request"))

        test "a connection that is cut is gone on from, however often" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number range ->
                        let reply = usual number range
                        if number < 3 then { reply with Cut = Some 70_000 } else reply)

                Expect.isOk (fetch patient server folder) "fetched"
                came folder
                Expect.equal server.Asked [ None; Some 70_000; Some 140_000; Some 210_000 ] "ranges"))

        test "a download that was given up is gone on from by the next" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number range ->
                        let reply = usual number range
                        if number = 0 then { reply with Cut = Some 123_456 } else reply)

                unreachable [ "kept" ] (fetch hasty server folder) "cut"
                Expect.equal (entries folder) [ "data.bin.part" ] "nothing under the final name"
                Expect.isOk (fetch hasty server folder) "fetched"
                came folder
                Expect.equal server.Asked [ None; Some 123_456 ] "ranges"))

        test "a server that knows no ranges is asked for all of it again" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number _ ->
                        if number = 0 then { whole with Cut = Some 9_999 } else whole)
                Expect.isOk (fetch patient server folder) "fetched"
                came folder
                Expect.equal server.Asked [ None; Some 9_999 ] "requests"))

        test "a range that is answered by another one is not taken" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number _ ->
                        match number with
                        | 0 -> { whole with Cut = Some 1_000 }
                        | 1 -> from 500
                        | _ -> whole)

                Expect.isOk (fetch patient server folder) "fetched"
                came folder
                Expect.equal server.Asked [ None; Some 1_000; None ] "requests"))

        test "what has come whole already is only checked" (fun () ->
            inFolder (fun folder ->
                let refusal = {
                    whole with
                        Status = "416 Range Not Satisfiable"
                        Headers = [ "Content-Range: bytes */300000" ]
                        Body = [||]
                }

                use server = new Server(fun _ range -> if range.IsSome then refusal else whole)
                File.WriteAllBytes(Path.Combine(folder, "data.bin.part"), content)
                Expect.isOk (fetch hasty server folder) "fetched"
                came folder
                // More than the file has: it was another one.
                File.WriteAllBytes(Path.Combine(folder, "data.bin.part"), Array.append content [| 1uy |])
                Expect.isOk (fetch patient server folder) "fetched"
                came folder
                Expect.equal server.Asked [ Some 300_000; Some 300_001; None ] "requests"))

        test "another checksum leaves nothing behind, and what was there before" (fun () ->
            inFolder (fun folder ->
                use server = new Server(fun _ _ -> { whole with Body = Array.rev content })
                let error = wantError (fetch patient server folder) "checksum"
                says [ md5 content; "checksum"; "data.bin" ] error "sentence"
                Expect.equal (Error.exitCode error) 5 "damaged"
                Expect.equal (entries folder) [] "nothing left"
                File.WriteAllText(Path.Combine(folder, "data.bin"), "before")
                Expect.isError (fetch hasty server folder) "again"
                Expect.equal (File.ReadAllText(Path.Combine(folder, "data.bin"))) "before" "the old file"
                Expect.equal server.Asked.Length 2 "a wrong file is not tried again by itself"))

        test "a file that is not there, and a server that fails" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number range ->
                        match number with
                        | 0 -> { whole with Status = "404 Not Found"; Body = "<html>none</html>"B }
                        | 1 -> { whole with Status = "503 Service Unavailable"; Body = [||] }
                        | _ -> usual number range)

                unreachable [ "404"; "Not Found"; "data.bin" ] (fetch patient server folder) "404"
                Expect.equal server.Asked.Length 1 "it is asked for once"
                Expect.equal (entries folder) [] "nothing left"
                Expect.isOk (fetch patient server folder) "503 passes"
                came folder))

        test "no network: a sentence that names the server, and what to do" (fun () ->
            inFolder (fun folder ->
                let url =
                    use server = new Server(usual)
                    server.Url "data.bin"

                let target = Path.Combine(folder, "data.bin")
                let fetch url = Download.fetch patient url None target (fun _ _ -> ()) never
                unreachable
                    [ "no connection"; Uri(url).Authority; "can also be copied to"; target ]
                    (fetch url)
                    "refused"
                unreachable
                    [ "no connection"; "nowhere.invalid" ]
                    (fetch "http://nowhere.invalid/data.bin")
                    "no name"
                Expect.equal (entries folder) [] "nothing left"))

        test "a connection over which nothing comes is given up" (fun () ->
            inFolder (fun folder ->
                use server =
                    new Server(fun number range ->
                        let reply = usual number range
                        if number = 0 then { reply with Cut = Some 5_000; Silence = 600 } else reply)

                Expect.isOk
                    (fetch { patient with Silence = TimeSpan.FromSeconds 0.2 } server folder)
                    "fetched"
                came folder
                Expect.equal server.Asked [ None; Some 5_000 ] "requests"))

        test "stopped on request, it ends at once and keeps what has come" (fun () ->
            inFolder (fun folder ->
                use stop = new CancellationTokenSource()
                use server = new Server(fun _ _ -> { whole with Cut = Some 80_000; Silence = 1_500 })
                let clock = Stopwatch.StartNew()
                stop.CancelAfter 300

                let result =
                    Download.fetch
                        patient
                        (server.Url "data.bin")
                        None
                        (Path.Combine(folder, "data.bin"))
                        (fun _ _ -> ())
                        stop.Token

                Expect.equal (wantError result "stopped") Error.Interrupted "stopped"
                Expect.isLessThan clock.ElapsedMilliseconds 1_400L "at once"
                Expect.equal (entries folder) [ "data.bin.part" ] "kept"
                Expect.equal
                    (FileInfo(Path.Combine(folder, "data.bin.part")).Length)
                    80_000L
                    "what had come"))

        test "a full disk" (fun () ->
            inFolder (fun folder ->
                if File.Exists "/dev/full" then
                    let part = Path.Combine(folder, "data.bin.part")
                    File.CreateSymbolicLink(part, "/dev/full") |> ignore
                    use server = new Server(usual)
                    let error = wantError (fetch patient server folder) "full"
                    Expect.equal (Error.exitCode error) 6 "not writable"
                    says [ part; "space" ] error "sentence"
                    Expect.equal (entries folder) [ "data.bin.part" ] "nothing under the final name"
                else
                    skiptest "this system has no /dev/full"))

        test "a place that cannot be written" (fun () ->
            inFolder (fun folder ->
                File.WriteAllText(Path.Combine(folder, "file"), "")
                use server = new Server(usual)
                let target = Path.Combine(folder, "file", "data.bin")
                let error =
                    wantError
                        (Download.fetch hasty (server.Url "a") None target (fun _ _ -> ()) never)
                        "a file"
                Expect.equal (Error.exitCode error) 6 "not writable"))
    ]
