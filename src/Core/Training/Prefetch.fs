namespace AdvContrast.Core.Training

open System
open System.Collections.Concurrent
open System.Threading
open System.Threading.Tasks

/// Makes values on a thread of its own while its owner does something else: one at a time, each asked for
/// by a key before it is taken. Values that are made and not taken are discarded at the end, and the thread
/// ends with it. For one owner's thread.
type Prefetch<'key, 'value when 'key: equality>(make: 'key -> 'value, discard: 'value -> unit) =
    let requests = new BlockingCollection<'key * TaskCompletionSource<'value>>()
    let mutable asked: ('key * Task<'value>) option = None

    let work () =
        for key, promise in requests.GetConsumingEnumerable() do
            try
                promise.SetResult(make key)
            with e ->
                promise.SetException e

    // Begun when something is first asked for.
    let worker =
        lazy
            (let thread = Thread(work, IsBackground = true, Name = "images made ahead")
             thread.Start()
             thread)

    let drop () =
        match asked with
        | Some(_, task) ->
            asked <- None

            try
                discard (task.GetAwaiter().GetResult())
            with _ ->
                // Nobody asked for it again, so nobody is to hear of its fault.
                ()
        | None -> ()

    /// Begins to make a value, in place of another that was asked for and not taken.
    member _.Ask key =
        drop ()
        let promise = TaskCompletionSource<'value> TaskCreationOptions.RunContinuationsAsynchronously
        asked <- Some(key, promise.Task)
        worker.Force() |> ignore
        requests.Add((key, promise))

    /// Waits until what was asked for is made, or has failed.
    member _.Settle() = asked |> Option.iter (fun (_, task) -> Task.WaitAny(task :> Task) |> ignore)

    /// The value of a key: the one that was made ahead, or one made now on the caller's thread. What was
    /// raised in making it is raised here.
    member _.Take key =
        match asked with
        | Some(known, task) when known = key ->
            asked <- None
            task.GetAwaiter().GetResult()
        | _ -> make key

    interface IDisposable with
        member _.Dispose() =
            requests.CompleteAdding()
            if worker.IsValueCreated then worker.Value.Join()
            drop ()
            requests.Dispose()
