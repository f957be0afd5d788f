namespace Expecto

open System
open System.Text.RegularExpressions

/// Expectations: each does nothing where it holds and raises with the message where it does not.
[<RequireQualifiedAccess>]
module Expect =

    let private fail (message: string) (detail: string) : 'a =
        raise (AssertException(message + ". " + detail))

    let private check holds message detail = if not holds then fail message (detail ())

    let private show (value: 'a) =
        let text = sprintf "%A" value
        if text.Length > 2000 then text[..1999] + " ..." else text

    let private quote (text: string) = if isNull text then "null" else "'" + text + "'"

    // --- equality

    let private firstDifference (actual: string) (expected: string) =
        let at =
            Seq.zip actual expected
            |> Seq.tryFindIndex (fun (a, e) -> a <> e)
            |> Option.defaultValue (min actual.Length expected.Length)

        sprintf
            "String does not match at position %d.\nexpected: %s\n  actual: %s"
            at
            (quote expected)
            (quote actual)

    let equal (actual: 'a) (expected: 'a) message =
        let detail () =
            match box actual, box expected with
            | (:? string as a), (:? string as e) -> firstDifference a e
            | _ ->
                sprintf
                    "Actual value was not equal to expected.\nexpected: %s\n  actual: %s"
                    (show expected)
                    (show actual)

        check (actual = expected) message detail

    let notEqual (actual: 'a) (expected: 'a) message =
        check (actual <> expected) message (fun () -> sprintf "Both were %s." (show actual))

    // --- truth and cases

    let isTrue actual message = check actual message (fun () -> "Actual value was false.")

    let isFalse actual message = check (not actual) message (fun () -> "Actual value was true.")

    let wantSome x message =
        match x with
        | Some value -> value
        | None -> fail message "Expected Some, was None."

    let isSome x message = wantSome x message |> ignore

    let isNone x message =
        match x with
        | None -> ()
        | Some value -> fail message (sprintf "Expected None, was Some(%s)." (show value))

    let wantOk x message =
        match x with
        | Ok value -> value
        | Error error -> fail message (sprintf "Expected Ok, was Error(%s)." (show error))

    let isOk x message = wantOk x message |> ignore

    let wantError x message =
        match x with
        | Error error -> error
        | Ok value -> fail message (sprintf "Expected Error, was Ok(%s)." (show value))

    let isError x message = wantError x message |> ignore

    let isChoice1Of2 x message =
        match x with
        | Choice1Of2 _ -> ()
        | Choice2Of2 value -> fail message (sprintf "Expected Choice1Of2, was Choice2Of2(%s)." (show value))

    let isChoice2Of2 x message =
        match x with
        | Choice2Of2 _ -> ()
        | Choice1Of2 value -> fail message (sprintf "Expected Choice2Of2, was Choice1Of2(%s)." (show value))

    let isNull (x: 'a when 'a: null) message =
        check (isNull x) message (fun () -> sprintf "Expected null, was %s." (show x))

    let isNotNull (x: 'a when 'a: null) message =
        check (not (Operators.isNull x)) message (fun () -> "Expected a value, was null.")

    // --- order

    let private ordered holds (words: string) a b message =
        check holds message (fun () -> sprintf "Expected %s to be %s %s." (show a) words (show b))

    let isLessThan a b message = ordered (a < b) "less than" a b message

    let isLessThanOrEqual a b message = ordered (a <= b) "less than or equal to" a b message

    let isGreaterThan a b message = ordered (a > b) "greater than" a b message

    let isGreaterThanOrEqual a b message = ordered (a >= b) "greater than or equal to" a b message

    // --- floating point

    let isNaN (f: float) message =
        check (Double.IsNaN f) message (fun () -> sprintf "Expected NaN, was %g." f)

    let isNotNaN (f: float) message = check (not (Double.IsNaN f)) message (fun () -> "Was NaN.")

    let isNotNaNf (f: float32) message = isNotNaN (float f) message

    let isNotInfinity (f: float) message =
        check (not (Double.IsInfinity f)) message (fun () -> sprintf "Was %g." f)

    let isNotInfinityf (f: float32) message = isNotInfinity (float f) message

    // An infinity is within relative * infinity of everything: only finite numbers have a distance.
    let private finite accuracy actual expected message =
        for name, value in [ "actual", actual; "expected", expected ] do
            check (Double.IsFinite value) message (fun () ->
                sprintf "Expected a finite number, but %s was %g." name value)

        for name, value in [ "absolute", accuracy.absolute; "relative", accuracy.relative ] do
            check (value >= 0.0) message (fun () ->
                sprintf "The %s accuracy is %g, which is no distance." name value)

    let floatClose (accuracy: Accuracy<float, float>) (actual: float) (expected: float) message =
        finite accuracy actual expected message

        check (Accuracy.areClose accuracy actual expected) message (fun () ->
            sprintf
                "Expected %.17g to be within %.3g of %.17g, was %.3g apart."
                actual
                (Accuracy.areCloseRhs accuracy actual expected)
                expected
                (abs (actual - expected)))

    let private widen (accuracy: Accuracy<float32, float32>) : Accuracy<float, float> = {
        absolute = float accuracy.absolute
        relative = float accuracy.relative
    }

    let float32Close accuracy (actual: float32) (expected: float32) message =
        floatClose (widen accuracy) (float actual) (float expected) message

    let floatLessThanOrClose accuracy (actual: float) (expected: float) message =
        if not (actual <= expected) then floatClose accuracy actual expected message

    let floatGreaterThanOrClose accuracy (actual: float) (expected: float) message =
        if not (actual >= expected) then floatClose accuracy actual expected message

    // --- sequences

    let isEmpty (actual: 'a seq) message =
        check (Seq.isEmpty actual) message (fun () ->
            sprintf "Expected nothing, was %s." (show (List.ofSeq actual)))

    let isNonEmpty (actual: 'a seq) message =
        check (not (Seq.isEmpty actual)) message (fun () -> "Was empty.")

    let hasLength (seq: 'a seq) (expectedLength: int) message =
        let length = Seq.length seq
        check (length = expectedLength) message (fun () ->
            sprintf "Expected length %d, was %d." expectedLength length)

    let hasCountOf (actual: 'a seq) (expected: uint32) (selector: 'a -> bool) message =
        let count = actual |> Seq.filter selector |> Seq.length
        check (uint32 count = expected) message (fun () ->
            sprintf "Expected %d such elements, were %d." expected count)

    let contains (sequence: 'a seq) (element: 'a) message =
        check (Seq.contains element sequence) message (fun () ->
            sprintf "Sequence does not contain %s. It is %s." (show element) (show (List.ofSeq sequence)))

    let containsAll (actual: 'a seq when 'a: comparison) (expected: 'a seq) message =
        let counts = actual |> Seq.countBy id |> Map.ofSeq
        let count element = counts |> Map.tryFind element |> Option.defaultValue 0

        let missing =
            expected
            |> Seq.countBy id
            |> Seq.filter (fun (element, times) -> count element < times)
            |> List.ofSeq

        check missing.IsEmpty message (fun () -> sprintf "Missing: %s." (missing |> List.map fst |> show))

    let all (actual: 'a seq) (asserter: 'a -> bool) message =
        let wrong =
            actual |> Seq.indexed |> Seq.filter (snd >> asserter >> not) |> Seq.truncate 10 |> List.ofSeq
        check wrong.IsEmpty message (fun () ->
            sprintf "These (index, element) do not satisfy it: %s." (show wrong))

    let allEqual (actual: 'a seq) (equalTo: 'a) message =
        all actual (fun element -> element = equalTo) message

    let exists (actual: 'a seq) (asserter: 'a -> bool) message =
        check (Seq.exists asserter actual) message (fun () -> "No element satisfies it.")

    let sequenceEqual (actual: 'a seq) (expected: 'a seq) message =
        let actual, expected = Array.ofSeq actual, Array.ofSeq expected

        match Seq.zip actual expected |> Seq.tryFindIndex (fun (a, e) -> a <> e) with
        | Some at ->
            fail message (sprintf "At index %d expected %s, was %s." at (show expected[at]) (show actual[at]))
        | None -> hasLength actual expected.Length message

    let sequenceStarts (subject: 'a seq) (prefix: 'a seq) message =
        let prefix = Array.ofSeq prefix
        sequenceEqual (Seq.truncate prefix.Length subject) prefix message

    let private sorted (holds: 'a * 'a -> bool) (word: string) (subject: 'a seq) message =
        match subject |> Seq.pairwise |> Seq.tryFindIndex (holds >> not) with
        | Some at -> fail message (sprintf "Not %s at index %d." word at)
        | None -> ()

    let isAscending (subject: 'a seq when 'a: comparison) message =
        sorted (fun (a, b) -> a <= b) "ascending" subject message

    let isDescending (subject: 'a seq when 'a: comparison) message =
        sorted (fun (a, b) -> a >= b) "descending" subject message

    // --- strings

    let private text holds (words: string) (part: string) (subject: string) message =
        check holds message (fun () -> sprintf "Expected %s to %s %s." (quote subject) words (quote part))

    let stringContains (subject: string) (substring: string) message =
        text (subject.Contains(substring, StringComparison.Ordinal)) "contain" substring subject message

    let stringStarts (subject: char seq) (prefix: char seq) message =
        let subject, prefix = String.Concat subject, String.Concat prefix
        text (subject.StartsWith(prefix, StringComparison.Ordinal)) "start with" prefix subject message

    let stringEnds (subject: string) (suffix: string) message =
        text (subject.EndsWith(suffix, StringComparison.Ordinal)) "end with" suffix subject message

    let stringHasLength (subject: string) (length: int) message = hasLength subject length message

    let isNotEmpty (actual: string) message =
        check (not (String.IsNullOrEmpty actual)) message (fun () -> "Expected a string that is not empty.")

    let isNotWhitespace (actual: string) message =
        check (not (String.IsNullOrWhiteSpace actual)) message (fun () ->
            "Expected a string that is not white space.")

    let isMatch (actual: string) (pattern: string) message =
        text (Regex.IsMatch(actual, pattern)) "match" pattern actual message

    let isNotMatch (actual: string) (pattern: string) message =
        text (not (Regex.IsMatch(actual, pattern))) "not match" pattern actual message

    // --- exceptions

    let private raised (f: unit -> unit) : exn option =
        try
            f ()
            None
        with e ->
            Some e

    let throws (f: unit -> unit) message =
        check (raised f).IsSome message (fun () -> "Expected an exception, none was raised.")

    let throwsC (f: unit -> unit) (cont: exn -> 'a) : 'a =
        match raised f with
        | Some e -> cont e
        | None -> fail "Expected an exception" "None was raised."

    // Exactly this type, as Expecto has it: a subclass is another exception.
    let throwsT<'texn when 'texn :> exn> (f: unit -> unit) message =
        match raised f with
        | None -> fail message (sprintf "Expected %s, nothing was raised." typeof<'texn>.Name)
        | Some e ->
            check (e.GetType() = typeof<'texn>) message (fun () ->
                sprintf "Expected %s, was %s: %s" typeof<'texn>.Name (e.GetType().Name) e.Message)
