/// A server on the loopback address, for tests of what comes from the network.
module Support.TestServer

open System
open System.IO
open System.Net
open System.Net.Sockets
open System.Security.Cryptography
open System.Text
open System.Threading
open Expecto

/// What the server does with a request.
type Reply = {
    Status: string
    Headers: string list
    Body: byte[]
    /// Bytes of the body after which the connection is cut.
    Cut: int option
    /// Then nothing more comes for so long.
    Silence: int
}

/// A server on the loopback address that answers each request by its number and by where its range starts.
type Server(answer: int -> int option -> Reply) =
    let listener = new TcpListener(IPAddress.Loopback, 0)
    let mutable asked: int option list = []

    let serve (client: TcpClient) =
        use client = client
        use stream = client.GetStream()
        use reader = new StreamReader(stream, Encoding.ASCII, false, 1024, true)
        let lines =
            Seq.initInfinite (fun _ -> reader.ReadLine())
            |> Seq.takeWhile (String.IsNullOrEmpty >> not)
            |> List.ofSeq

        let range =
            lines
            |> List.tryPick (fun line ->
                if line.StartsWith "Range: bytes=" then Some(int (line.Substring(13).TrimEnd '-')) else None)

        asked <- asked @ [ range ]
        let reply = answer (asked.Length - 1) range

        let head = [
            "HTTP/1.1 " + reply.Status
            sprintf "Content-Length: %d" reply.Body.Length
            "Connection: close"
            yield! reply.Headers
        ]

        stream.Write(Encoding.ASCII.GetBytes(String.Join("\r\n", head) + "\r\n\r\n"))
        stream.Write(reply.Body, 0, Option.defaultValue reply.Body.Length reply.Cut)
        stream.Flush()
        if reply.Silence > 0 then Thread.Sleep reply.Silence

    let thread =
        Thread(fun () ->
            try
                while true do
                    try
                        serve (listener.AcceptTcpClient())
                    with :? IOException ->
                        ()
            with
            | :? SocketException
            | :? InvalidOperationException -> ())

    do
        listener.Start()
        thread.Start()

    member _.Url name = sprintf "http://127.0.0.1:%d/%s" (listener.LocalEndpoint :?> IPEndPoint).Port name
    /// Where each request's range started.
    member _.Asked = asked

    interface IDisposable with
        member _.Dispose() =
            listener.Stop()
            thread.Join()

/// All of a file, and no more to say.
let wholeOf body = { Status = "200 OK"; Headers = []; Body = body; Cut = None; Silence = 0 }

/// A checksum as it is published.
let md5 (bytes: byte[]) = Convert.ToHexStringLower(MD5.HashData bytes)

/// What is in a folder.
let entries (folder: string) =
    Directory.GetFileSystemEntries folder |> Array.map Path.GetFileName |> Array.sort |> List.ofArray
