namespace AdvContrast.Core.Data

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Http
open System.Net.Http.Headers
open System.Security.Cryptography
open System.Threading
open AdvContrast.Core.Foundation

/// Retry policy of a download.
type Patience = {
    /// Connections in all, the first included.
    Tries: int
    /// Between two of them.
    Pause: TimeSpan
    /// A connection that is silent for this long is closed.
    Silence: TimeSpan
}

/// Files from the network, whole and checked or not at all. While a file comes it is called TARGET.part. A later
/// download resumes where that ends if the file's checksum is known, so that parts of two files are never joined.
[<RequireQualifiedAccess>]
module Download =

    /// Five connections, two seconds apart, each given up after a minute of silence.
    let patience = { Tries = 5; Pause = TimeSpan.FromSeconds 2.0; Silence = TimeSpan.FromSeconds 60.0 }

    // How a connection ended.
    type private Ending =
        | Complete
        // Worth another try: what is there already is gone on from.
        | Broken of string
        | Failed of Error

    let private client =
        lazy
            (let handler = new SocketsHttpHandler(ConnectTimeout = TimeSpan.FromSeconds 30.0)
             let client = new HttpClient(handler, Timeout = Timeout.InfiniteTimeSpan)
             client.DefaultRequestHeaders.UserAgent.Add(ProductInfoHeaderValue("AdvContrast", "1.0"))
             client)

    let private unreachable (url: string) target problem =
        Error.Unreachable(url, sprintf "%s The file can also be copied to '%s'." problem target)

    let private lengthOf (path: string) = if File.Exists path then FileInfo(path).Length else 0L

    let private openPart (part: string) goesOn =
        Path.GetDirectoryName(Path.GetFullPath part) |> Directory.CreateDirectory |> ignore
        new FileStream(part, (if goesOn then FileMode.Append else FileMode.Create), FileAccess.Write)

    // Copies what comes to the file, until it ends, or raises as the connection or the file does. The file's
    // faults are told from the connection's by being an Error already.
    let private copy
        patience
        (content: Stream)
        (file: FileStream)
        part
        report
        total
        (stop: CancellationToken)
        =
        let buffer = Array.zeroCreate<byte> 81920
        let clock = Stopwatch.StartNew()
        let mutable came = if file.CanSeek then file.Position else 0L
        let mutable going = true
        let mutable fault = None

        while going do
            use silence = CancellationTokenSource.CreateLinkedTokenSource stop
            silence.CancelAfter patience.Silence
            let count = content.ReadAsync(Memory buffer, silence.Token).AsTask().GetAwaiter().GetResult()

            if count = 0 then
                going <- false
            else
                try
                    file.Write(buffer, 0, count)
                    file.Flush()
                    came <- came + int64 count
                with
                | :? IOException
                | :? UnauthorizedAccessException as e ->
                    let text = sprintf "%s What came until then is kept there and gone on from." e.Message
                    fault <- Some(Error.NotWritable(part, text))
                    going <- false

                if clock.ElapsedMilliseconds > 100L then
                    clock.Restart()
                    report came total

        report came total
        came, fault

    let private receive
        patience
        (response: HttpResponseMessage)
        part
        goesOn
        report
        (stop: CancellationToken)
        =
        let range = response.Content.Headers.ContentRange

        let total =
            if goesOn && range.HasLength then
                Some range.Length.Value
            else
                response.Content.Headers.ContentLength
                |> Option.ofNullable
                |> Option.map (fun length -> length + (if goesOn then lengthOf part else 0L))

        let opened =
            try
                Ok(openPart part goesOn)
            with
            | :? IOException
            | :? UnauthorizedAccessException as e -> Result.Error(Error.NotWritable(part, e.Message))

        match opened with
        | Result.Error error -> Failed error
        | Ok file ->
            use content = response.Content.ReadAsStream stop

            let ended =
                try
                    let came, fault = copy patience content file part report total stop

                    match fault, total with
                    | Some error, _ -> Failed error
                    | None, Some total when came < total ->
                        Broken(sprintf "The connection ended after %d of %d bytes." came total)
                    | None, Some total when came > total ->
                        Broken(sprintf "It sent %d bytes where %d were promised." came total)
                    | None, _ -> Complete
                with
                | :? OperationCanceledException when not stop.IsCancellationRequested ->
                    Broken(sprintf "Nothing came for %.0f s." patience.Silence.TotalSeconds)
                | :? HttpRequestException
                | :? IOException as e -> Broken(sprintf "The connection was cut: %s" e.Message)

            // What a full disk holds back is complained of again when the file is closed.
            try
                file.Dispose()
                ended
            with :? IOException as e ->
                match ended with
                | Failed _ -> ended
                | _ -> Failed(Error.NotWritable(part, e.Message))

    // One connection.
    let private connect patience (url: string) target part report (stop: CancellationToken) =
        let start = lengthOf part
        use request = new HttpRequestMessage(HttpMethod.Get, url)
        if start > 0L then request.Headers.Range <- RangeHeaderValue(Nullable start, Nullable())

        try
            use response = client.Value.Send(request, HttpCompletionOption.ResponseHeadersRead, stop)
            let status = int response.StatusCode

            match response.StatusCode with
            | HttpStatusCode.PartialContent when
                not (isNull response.Content.Headers.ContentRange)
                && response.Content.Headers.ContentRange.From = Nullable start
                ->
                receive patience response part true report stop
            | HttpStatusCode.OK -> receive patience response part false report stop
            | HttpStatusCode.RequestedRangeNotSatisfiable
            | HttpStatusCode.PartialContent when start > 0L ->
                let range = response.Content.Headers.ContentRange

                // Nothing is left to come: the file is whole, or it is another one.
                if not (isNull range) && range.HasLength && range.Length = Nullable start then
                    Complete
                else
                    File.Delete part
                    Broken "What had come before does not fit the file that is there now."
            | _ ->
                let answer = sprintf "The server answers %d (%s)." status response.ReasonPhrase
                if status >= 500 || status = 429 then Broken answer else Failed(unreachable url target answer)
        with
        | :? HttpRequestException as e ->
            let host = Uri(url).Authority

            match e.HttpRequestError with
            | HttpRequestError.NameResolutionError
            | HttpRequestError.ConnectionError ->
                let text = sprintf "There is no connection to %s: %s." host (e.Message.TrimEnd '.')
                Failed(unreachable url target text)
            | _ -> Broken(sprintf "The connection was cut: %s" e.Message)
        | :? OperationCanceledException when not stop.IsCancellationRequested ->
            Failed(unreachable url target (sprintf "There is no connection to %s." (Uri(url).Authority)))

    /// Whether a file has a checksum (MD5, hexadecimal).
    let has (md5: string) (path: string) =
        use file = File.OpenRead path
        Convert.ToHexStringLower(MD5.HashData file) = md5.ToLowerInvariant()

    // Gives a file that has come its name, where it is what it should be.
    let private accept (url: string) (md5: string option) part (target: string) =
        match md5 with
        | Some expected when not (has expected part) ->
            // To go on from it could never end well.
            File.Delete part

            let text =
                sprintf
                    "what '%s' gave does not have the published checksum (MD5 %s); it was deleted, so try again."
                    url
                    expected

            Result.Error(Error.Damaged(target, text))
        | _ ->
            File.Move(part, target, true)
            Ok()

    /// Brings a file from an address. md5: its checksum, in hexadecimal, where one is known. report: told
    /// how many bytes have come, and of how many in all where that is known. When stop is cancelled it ends
    /// at once with Error.Interrupted. Damaged for another checksum, Unreachable for what the network or
    /// the server refuses, NotWritable for a full disk; under the target's own name there is the whole file
    /// or what was there before.
    let fetch
        patience
        (url: string)
        (md5: string option)
        (target: string)
        (report: int64 -> int64 option -> unit)
        (stop: CancellationToken)
        : Result<unit, Error> =
        let part = target + ".part"

        let rec attempt tries =
            match connect patience url target part report stop with
            | Complete -> accept url md5 part target
            | Failed error -> Result.Error error
            | Broken _ when tries > 1 ->
                stop.WaitHandle.WaitOne patience.Pause |> ignore
                stop.ThrowIfCancellationRequested()
                attempt (tries - 1)
            | Broken problem ->
                let kept = " What came until then is kept; the same command resumes from there."
                Result.Error(unreachable url target (problem + kept))

        try
            // Without a checksum nothing tells whether what is left of an earlier download is of the same file.
            if md5.IsNone then File.Delete part

            attempt patience.Tries
        with
        | :? OperationCanceledException -> Result.Error Error.Interrupted
        | :? IOException
        | :? UnauthorizedAccessException as e -> Result.Error(Error.NotWritable(target, e.Message))
