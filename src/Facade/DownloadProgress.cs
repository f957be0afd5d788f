namespace AdvContrast;

/// <summary>How far a file has come.</summary>
/// <param name="File">The file's name.</param>
/// <param name="Came">Bytes that have come.</param>
/// <param name="Total">Bytes in all; null where the server does not say.</param>
public sealed record DownloadProgress(string File, long Came, long? Total);
