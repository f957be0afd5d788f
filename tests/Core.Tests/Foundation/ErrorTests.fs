/// Errors tell what is wrong and how to put it right.
module Tests.Foundation.ErrorTests

open System
open Expecto
open FSharp.Reflection
open AdvContrast.Core.Foundation
open Support.Laws

// One of each, with what its sentence must hold.
let private examples = [
    Error.UnknownName("method", "simclt", [ "simclr"; "acl-ds" ]),
    [ "method"; "'simclt'"; "Did you mean 'simclr'?"; "simclr, acl-ds" ]
    Error.BadOption("--batch", "0 is not 1 or more."), [ "--batch"; "0 is not 1 or more." ]
    Error.Missing("A file", "/there/is/none", "Make one."), [ "A file"; "'/there/is/none'"; "Make one." ]
    Error.Damaged("a.bin", "it was cut short."), [ "'a.bin'"; "it was cut short." ]
    Error.NotWritable("/proc/x", "read-only"), [ "'/proc/x'"; "read-only" ]
    Error.Unreachable("http://a/b", "The server answers 404."), [ "'http://a/b'"; "404" ]
    Error.Runtime "libtorch is missing; run set-up.", [ "libtorch is missing; run set-up." ]
    Error.Diverged(17L, "the loss is NaN."), [ "step 17"; "the loss is NaN." ]
    Error.Interrupted, [ "Stopped" ]
    Error.Several(Error.Damaged("a.bin", "it was cut short."), [ Error.Damaged("b.bin", "it is empty.") ]),
    [ "'a.bin'"; "it was cut short."; "'b.bin'"; "it is empty." ]
]

// The number of letters to insert, drop or change: straight from its definition.
let rec private changes (a: char list) (b: char list) =
    match a, b with
    | [], rest
    | rest, [] -> rest.Length
    | x :: xs, y :: ys ->
        List.min [ changes xs ys + (if x = y then 0 else 1); changes xs b + 1; changes a ys + 1 ]

let private methods = [ "simclr"; "acl-ds"; "a-infonce"; "deacl" ]

[<Tests>]
let tests =
    testList "Foundation.Error" [
        test "there is an example of every kind" (fun () ->
            let case error = (fst (FSharpValue.GetUnionFields(error, typeof<Error>))).Name
            let all = FSharpType.GetUnionCases typeof<Error> |> Array.map _.Name |> List.ofArray
            Expect.equal (examples |> List.map (fst >> box >> case)) all "kinds of error")

        testTheory "the sentence names what is wrong and what to do" examples (fun (error, parts) ->
            says parts error "its parts")

        test "every kind has an exit code of its own, and none is that of success or of a crash" (fun () ->
            let single = examples |> List.map fst |> List.filter (_.IsSeveral >> not)
            let codes = single |> List.map Error.exitCode
            Expect.equal (List.distinct codes) codes "codes differ"

            for error in single do
                Expect.equal
                    (Error.exitCode (Error.Several(error, [ Error.Interrupted ])))
                    (Error.exitCode error)
                    "several"

            Expect.all codes (fun code -> code > 1 && code < 256) "codes that a shell can tell")

        test "of several errors the first 20 are shown, and the number of the others" (fun () ->
            for count in [ 2; 20; 21; 45 ] do
                let errors = List.init count (fun i -> Error.Damaged(sprintf "file-%d" i, "it is empty."))
                let lines = (Error.message (Error.Several(errors.Head, errors.Tail))).Split '\n'
                let shown = errors |> List.truncate 20 |> List.map Error.message
                let more = if count > 20 then [ sprintf "... and %d more." (count - 20) ] else []
                Expect.equal (List.ofArray lines) (shown @ more) (sprintf "%d errors" count))

        testProperty "the nearest name is the one that takes the fewest changes" (fun (letters: char list) ->
            let given = letters |> List.truncate 6 |> List.map (fun c -> char (int 'a' + int c % 26))
            let known = [ "abc"; "bcde"; "fghij" ]
            let cost (name: string) = changes given (List.ofSeq name)
            let best = known |> List.map (fun name -> cost name, name) |> List.min

            match Error.nearest (String.Concat given) known with
            | Some name -> (cost name, name) = best
            | None -> fst best > 2)

        testProperty
            "a name with one letter changed, dropped or added is understood"
            (fun (at: int) (how: byte) ->
                let name = methods[abs (at % methods.Length)]
                let i = int (abs (int64 at) % int64 name.Length)

                let given =
                    match how % 3uy with
                    | 0uy -> name.Remove(i, 1)
                    | 1uy -> name.Insert(i, "q")
                    | _ -> name.Remove(i, 1).Insert(i, "Q")

                Error.nearest (given.ToUpperInvariant()) methods = Some name)

        test "nothing is guessed where nothing is near" (fun () ->
            Expect.isNone (Error.nearest "barlow-twins" methods) "far from all"
            Expect.isNone (Error.nearest "x" []) "nothing known"
            let sentence = Error.message (Error.UnknownName("method", "barlow-twins", methods))
            Expect.isFalse (sentence.Contains "Did you mean") "no guess in the sentence")
    ]
