namespace AdvContrast.Core.Foundation

open System

/// Lists in sentences.
[<RequireQualifiedAccess>]
module ShortList =

    /// The texts with commas; of more than `most` the first `most` and the number of the others.
    let text most (texts: string list) =
        let first = String.Join(", ", List.truncate most texts)
        let more = texts.Length - most
        if more > 0 then sprintf "%s and %d more" first more else first
